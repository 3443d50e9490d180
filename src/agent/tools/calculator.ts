import { createRequire } from 'node:module'
import type { MathNode } from 'mathjs'
import { z } from 'zod'
import type { LocalTool } from '../toolset.ts'

const LONGEST = 120
const Arguments = z.object({ expression: z.string().min(1).max(LONGEST) })

/** Only what is listed is evaluated: what mathjs's advice on security would have one switch off is never reached. */
const OPERATORS = new Set(['+', '-', '*', '/', '^', '%'])
const FUNCTIONS = new Set(['sqrt', 'abs', 'round', 'floor', 'ceil', 'min', 'max'])
const CONSTANTS = new Set(['pi', 'e'])

type Math = Pick<typeof import('mathjs'), 'parse' | 'format'>
let math: Math | undefined

/** Part of an expression that is not arithmetic, or undefined. */
function foreignPart(node: MathNode): string | undefined {
  let found: string | undefined
  node.traverse((part, path, parent) => {
    const known = part as unknown as {
      type: string
      op?: string
      name?: string
      fn?: { name?: string }
      value?: unknown
    }
    const fine =
      known.type === 'ParenthesisNode' ||
      (known.type === 'ConstantNode' && typeof known.value === 'number') ||
      (known.type === 'OperatorNode' && OPERATORS.has(known.op ?? '')) ||
      (known.type === 'FunctionNode' && FUNCTIONS.has(known.fn?.name ?? '')) ||
      (known.type === 'SymbolNode' &&
        (path === 'fn' && parent.type === 'FunctionNode' ? FUNCTIONS : CONSTANTS).has(known.name ?? ''))
    if (!fine) found ??= part.toString()
  })
  return found
}

/** Arithmetic by mathjs, in plain numbers. */
export const calculator: LocalTool = {
  spec: {
    name: 'calculator',
    description:
      'Calculates an arithmetic expression such as "12 * (3 + 4)". Knows + - * / ^ %, sqrt, abs, round, min and max.',
    parameters: {
      type: 'object',
      properties: { expression: { type: 'string', maxLength: LONGEST } },
      required: ['expression'],
      additionalProperties: false,
    },
  },
  run(args) {
    const { data } = Arguments.safeParse(args)
    if (!data) return `calculator needs "expression", at most ${LONGEST} characters`
    // At the first call, and the bundle, which loads several times as fast as hundreds of modules do.
    math ??= createRequire(import.meta.url)('mathjs/lib/browser/math.js') as Math
    const unclear = `cannot calculate ${data.expression}`
    let node: MathNode
    try {
      node = math.parse(
        data.expression
          .replaceAll('×', '*')
          .replaceAll('÷', '/')
          .replace(/(\d),(?=\d{3}\b)/g, '$1'),
      )
    } catch {
      return unclear
    }
    const foreign = foreignPart(node)
    if (foreign !== undefined) return `${unclear}: ${foreign} is not arithmetic`
    const value: unknown = node.evaluate()
    if (typeof value !== 'number') return unclear
    if (!Number.isFinite(value)) return `${data.expression} has no finite value`
    return math.format(value, { precision: Number.isInteger(value) ? 15 : 6, lowerExp: -6, upperExp: 15 })
  },
}
