/** A protobuf field of wire type 2 (onnx.proto3 of ONNX 1.17): strings and nested messages. All are short. */
const field = (number: number, ...parts: readonly (string | readonly number[])[]): number[] => {
  const bytes = parts.flatMap((part) => (typeof part === 'string' ? [...new TextEncoder().encode(part)] : part))
  return [(number << 3) | 2, bytes.length, ...bytes]
}

/** A protobuf field of wire type 0: an integer below 128. */
const integer = (number: number, value: number): number[] => [number << 3, value]

/** An ONNX model, `y = Identity(x)`, for tensors of any shape. */
export function identityModel(elementType: number): Uint8Array {
  const value = (name: string) => [field(1, name), field(2, field(1, integer(1, elementType)))].flat()
  const node = [field(1, 'x'), field(2, 'y'), field(4, 'Identity')].flat()
  const graph = [field(1, node), field(2, 'identity'), field(11, value('x')), field(12, value('y'))].flat()
  return Uint8Array.from([integer(1, 8), field(7, graph), field(8, integer(2, 17))].flat())
}
