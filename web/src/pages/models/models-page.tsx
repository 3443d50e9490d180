import { useQuery } from '@tanstack/react-query'
import { newChatSettings, saveSettings } from '../../chat.ts'
import { getStatus } from '../../client.ts'
import { navigate } from '../../router.ts'
import type { Model } from '../../served.ts'
import { PageFrame } from '../../shell/page-frame.tsx'
import { QueryState } from '../../shell/query-state.tsx'

const refreshMs = 5_000

/** What this server serves. */
export function ModelsPage() {
  const status = useQuery({ queryKey: ['status'], queryFn: getStatus, refetchInterval: refreshMs })
  return (
    <PageFrame title="Models">
      <p className="lede">
        What this server serves, to the chat and to programs under <code>/v1</code>. The first is the default;{' '}
        <code>jackdaw serve --model</code> takes more.
      </p>
      <QueryState query={status}>
        {({ models, version }) => (
          <>
            <ul className="cards">
              {models.map((model, i) => (
                <ModelCard key={model.id} model={model} isDefault={i === 0 && models.length > 1} />
              ))}
            </ul>
            <p className="fine-print">jackdaw {version}</p>
          </>
        )}
      </QueryState>
    </PageFrame>
  )
}

function ModelCard({ model, isDefault }: { model: Model; isDefault: boolean }) {
  const { id, description, contextLength, activeRequests, tokensPerSecond } = model
  return (
    <li className="card">
      <div className="card-head">
        <h2>{id}</h2>
        {isDefault && <span className="chip">default</span>}
      </div>
      {description && <p className="card-text">{description}</p>}
      <dl className="facts">
        <Fact name="Does">{doing(model)}</Fact>
        <Fact name="Context">{contextLength.toLocaleString('en')} tokens</Fact>
        <Fact name="Speed">
          {tokensPerSecond === null ? 'not measured yet' : `${Math.round(tokensPerSecond)} tokens/s`}
        </Fact>
        <Fact name="Now">
          {activeRequests === 0
            ? 'idle'
            : `writing ${activeRequests === 1 ? 'one answer' : `${activeRequests} answers`}`}
        </Fact>
      </dl>
      {model.canWrite && (
        <p className="card-foot">
          <button
            type="button"
            className="button"
            onClick={() => void saveSettings(null, { ...newChatSettings.value, model: id }).then(() => navigate('/'))}
          >
            {model.canChat ? 'Begin a chat' : 'Begin a text'}
            <span className="visually-hidden"> with {id}</span>
          </button>
        </p>
      )}
    </li>
  )
}

function doing({ canWrite, canChat, singleTurn, canEmbed }: Model): string {
  if (!canWrite) return 'embeds'
  const writes = singleTurn ? 'answers one instruction' : canChat ? 'chats' : 'continues a text'
  return canEmbed ? `${writes}, embeds` : writes
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}
