import type { ToolPart } from '../../../src/server/wire.ts'
import { spelled } from '../tool-call.ts'

/** A tool that the model called on its way to an answer: one line, and what came back below it. */
export function ToolUse({ part }: { part: ToolPart }) {
  return (
    <details className="tool-use">
      <summary>
        <span className="tool-use-call">{spelled(part)}</span>
        <span className="tool-use-result">
          <span aria-hidden="true"> → </span>
          {part.result}
        </span>
      </summary>
      <pre>{part.result}</pre>
    </details>
  )
}
