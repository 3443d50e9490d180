import type { SingleBar } from 'cli-progress'
import type { DownloadProgress } from '../hub/download.ts'

/**
 * Runs what may download a model, with a bar on the terminal as soon as it does.
 *
 * @param run - hands `onProgress` on to the download
 */
export async function withDownloadBar<Result>(
  run: (onProgress?: (progress: DownloadProgress) => void) => Promise<Result>,
): Promise<Result> {
  if (!process.stderr.isTTY) return run()
  const { default: cliProgress } = await import('cli-progress')
  const format = '{bar} {value}/{total} MB {file}'
  const megabytes = (bytes: number): number => Math.round(bytes / 1e6)
  let bar: SingleBar | undefined
  try {
    return await run(({ bytes, total, file }) => {
      if (!bar) {
        bar = new cliProgress.SingleBar({ format, stream: process.stderr, clearOnComplete: true })
        bar.start(megabytes(total), 0, { file })
      }
      // Sizes that the hub does not list become known as files are begun.
      bar.setTotal(megabytes(total))
      bar.update(megabytes(bytes), { file })
    })
  } finally {
    bar?.stop()
  }
}
