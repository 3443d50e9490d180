import { isApple } from '../keyboard.ts'
import { Dialog } from './dialog.tsx'

const command = isApple ? '⌘' : 'Ctrl'

const shortcuts: readonly (readonly [string, readonly string[]])[] = [
  ['Send', ['Enter']],
  ['New line', ['Shift', 'Enter']],
  ['Stop the answer', ['Esc']],
  ['Find anything', [command, 'K']],
  ['Search conversations, papers or runs', [command, 'Shift', 'F']],
  ['New chat', [command, 'Shift', 'O']],
  ['Settings', [command, ',']],
  ['This help', [command, '/']],
  ['In the arena: first, second, tie, both bad', ['1', '2', 'T', 'B']],
  ['In the arena: next question', ['N']],
]

export function ShortcutHelp({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keyboard shortcuts" onClose={onClose}>
      <div className="dialog-body">
        <dl className="shortcuts">
          {shortcuts.map(([action, keys]) => (
            <div key={action}>
              <dt>{action}</dt>
              <dd>
                {keys.map((key) => (
                  <kbd key={key}>{key}</kbd>
                ))}
              </dd>
            </div>
          ))}
        </dl>
      </div>
    </Dialog>
  )
}
