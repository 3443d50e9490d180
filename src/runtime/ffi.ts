/**
 * koffi with room on its stacks. koffi calls C on a stack of its own, 128 KiB for asynchronous calls, where ONNX
 * Runtime's optimiser and WebGPU's shader compiler overflow and the process dies. The sizes are fixed by the first
 * `koffi.load`, so everything here that calls C imports koffi from this file.
 */

import koffi from 'koffi'

const STACK_BYTES = 8 << 20

// Configured twice, koffi throws once a library is loaded, same sizes or not.
if (koffi.config().async_stack_size! < STACK_BYTES) {
  koffi.config({ sync_stack_size: STACK_BYTES, async_stack_size: STACK_BYTES })
}

export default koffi
