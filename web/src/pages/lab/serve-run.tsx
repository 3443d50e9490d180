import { useEffect, useState } from 'react'
import { newChatSettings, saveSettings } from '../../chat.ts'
import { deleteRunModel, messageOf, postRunModel } from '../../client.ts'
import { useValue } from '../../observable.ts'
import { navigate } from '../../router.ts'
import { loadServed, served } from '../../served.ts'
import { showToast } from '../../toast.ts'

const lookMs = 2_000

/** Makes what a run has left a model of the picker, and takes it back. */
export function ServeRun({ run }: { run: string }) {
  const now = useValue(served)
  const [isBusy, setBusy] = useState(false)
  const model = now.state === 'ready' ? now.models.find(({ id }) => id === run) : undefined

  // After PPO the server serves it by itself, a moment later.
  const isLacking = !model
  useEffect(() => {
    if (!isLacking) return
    const timer = setInterval(() => void loadServed(), lookMs)
    return () => clearInterval(timer)
  }, [isLacking])

  const change = async (act: () => Promise<unknown>) => {
    setBusy(true)
    try {
      await act()
      await loadServed()
    } catch (error) {
      showToast({ message: messageOf(error) })
    }
    setBusy(false)
  }

  if (!model) {
    return (
      <p className="card-foot">
        <button type="button" className="button" disabled={isBusy} onClick={() => void change(() => postRunModel(run))}>
          {isBusy ? 'Loading the model' : 'Serve this model'}
        </button>
      </p>
    )
  }
  return (
    <p className="card-foot run-line">
      <span>It is served as {model.id}.</span>
      {model.canWrite && (
        <button
          type="button"
          className="button"
          onClick={() => void saveSettings(null, { ...newChatSettings.value, model: run }).then(() => navigate('/'))}
        >
          {model.canChat ? 'Begin a chat' : 'Begin a text'}
        </button>
      )}
      <button type="button" className="button" disabled={isBusy} onClick={() => void change(() => deleteRunModel(run))}>
        Serve it no more
      </button>
    </p>
  )
}
