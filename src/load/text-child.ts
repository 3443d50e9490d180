import { Script } from 'node:vm'
import { renderChat } from '../text/chat-template.ts'
import type { Tokenizer } from '../text/tokenizer.ts'
import { openTokenizer } from './load-tokenizer.ts'
import { MOST_RENDERED, type TextAnswer, type TextTask } from './text-process.ts'

/** What runs in the process of `TextProcess`: one task after another, each until its deadline. */

let tokenizer: Tokenizer | undefined
let work: () => unknown = () => undefined
/** Node stops a script at its timeout, and what the script calls with it: regular expressions, too. */
const script = new Script('work()')
Object.defineProperty(globalThis, 'work', { value: () => work() })

function within<T>(deadlineMs: number, run: () => T): T {
  work = run
  return script.runInThisContext({ timeout: deadlineMs }) as T
}

async function answer(task: TextTask): Promise<TextAnswer> {
  const { deadlineMs } = task
  try {
    if (task.type === 'render') {
      const value = within(deadlineMs, () => renderChat(task.template, task.messages, task.options))
      if (value.length > MOST_RENDERED) return { stopped: `wrote more than ${MOST_RENDERED} characters` }
      return { value }
    }
    const { source, text, options } = task
    const loaded = (tokenizer ??= await openTokenizer(source))
    if (!loaded) return { error: `${source.path}: its tokenizer is no longer there` }
    return { value: within(deadlineMs, () => Int32Array.from(loaded.encode(text, options))) }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return { stopped: `took more than ${deadlineMs / 1000} seconds` }
    return { error: message }
  }
}

process.on('message', (task: TextTask) => {
  void answer(task).then((reply) => process.send?.(reply))
})
// The process that asked is gone.
process.on('disconnect', () => process.exit())
process.send?.('ready')
