import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { JACKDAW_CHAT_TEMPLATE } from '../../src/data/instruction/conversation.ts'
import { toolTemplateOf } from '../../src/generate/tool-calls.ts'
import type { AnswerEvent, ChatMessage, GenerationRequest } from '../../src/generate/types.ts'
import { encodePng } from '../../src/image/png.ts'
import { listen, type RunningServer } from '../../src/server/listen.ts'
import { PAGE_SAMPLING } from '../../src/server/page-sampling.ts'
import { ConversationStore } from '../../src/server/store.ts'
import type { Status } from '../../src/server/wire.ts'
import { pause, ScriptedModel } from './scripted-model.ts'
import { audit, builtPage, lacksChromium, launchChromium } from './site.ts'

const hostile = [
  '<script>window.stolen = 1</script>',
  '<img src="/x" onerror="window.stolen = 2">',
  '<iframe srcdoc="<script>parent.stolen = 3</script>"></iframe>',
  '[press](javascript:window.stolen=4)',
  '![picture](https://example.invalid/track.png)',
  'The end of it.',
].join('\n\n')

const rich = [
  'Some **bold** words.',
  '```python\ndef caw(times):\n    return "kja" * times\n```',
  '| Bird | Eye |\n|---|---|\n| jackdaw | pale |',
  `${'A long line of words that fills the page. '.repeat(12)}\n\n`.repeat(8),
  'Finished.',
].join('\n\n')

const mathematical = [
  'By \\(E = mc^2\\) and $a^2 + b^2$ it costs $5, or $10.',
  '\\[\n\\int_0^1 x\\,dx = \\frac{1}{2}\n\\]',
  '$$\\href{javascript:window.stolen=5}{x}$$',
  'and `\\(code\\)` too.',
].join('\n\n')

const markedUp = [
  'A claim.[^1] Another.[^2]',
  '- [x] feed the jackdaw\n- [ ] polish the spoons',
  `| ${'Wide heading | '.repeat(12)}\n|${'---|'.repeat(12)}\n| ${'some words in a cell | '.repeat(12)}`,
  '[^1]: The first note.\n[^2]: The second note.',
].join('\n\n')

/** Stops at the token limit the first time. */
class ShortModel extends ScriptedModel {
  override renderChat(messages: readonly ChatMessage[]): number[] {
    return this.encode(messages.at(-1)?.content ?? '')
  }
  override async *generate(request: GenerationRequest) {
    for await (const event of super.generate(request)) {
      const cutOff = event.type === 'end' && this.requests.length === 1
      yield cutOff ? { ...event, reason: 'length' as const } : event
    }
  }
}

/** Reads the whole conversation, of which little fits. */
class ForgetfulModel extends ScriptedModel {
  override readonly contextLength = 120
  override renderChat(messages: readonly ChatMessage[]): number[] {
    return this.encode(messages.map(({ content }) => content).join('\n'))
  }
}

const png = (grey: number): Buffer =>
  Buffer.from(encodePng({ width: 320, height: 240, channels: 1, data: new Uint8Array(320 * 240).fill(grey) }))

/** Takes pictures, and draws one where it is asked to, waiting after the first step. */
class Painter extends ScriptedModel {
  readonly canSee = true
  async *answer(request: GenerationRequest): AsyncGenerator<AnswerEvent> {
    const prompt = this.decode(request.promptIds)
    for await (const event of this.generate(request)) {
      if (event.type !== 'end' || !prompt.includes('draw')) {
        yield event
        continue
      }
      const picture = { type: 'picture', width: 320, height: 240, alt: 'A grey field', steps: 2 } as const
      yield { ...picture, image: png(200), step: 1 }
      await this.paused(request.signal)
      yield { ...picture, image: png(90), step: 2 }
      yield event
    }
  }
}

/** Looks words up before it answers, on the server. */
class ToolUser extends ScriptedModel {
  readonly toolTemplate = toolTemplateOf(JACKDAW_CHAT_TEMPLATE)
  readonly toolset = {
    tools: [{ spec: { name: 'dictionary' }, run: () => 'jackdaw: a small crow; also, a thief of <b>spoons</b>' }],
    examples: ['What does jackdaw mean?'],
  }
}

function toolScript(prompt: string): string {
  if (prompt.startsWith('jackdaw:')) return 'It is a small crow.'
  if (prompt !== 'What does jackdaw mean?') return 'I know that.'
  return '<tool_call>{"name": "dictionary", "arguments": {"word": "jackdaw"}}</tool_call>'
}

/** As T5 is served. */
class InstructedModel extends ScriptedModel {
  readonly answerLength = 64
}

function script(prompt: string, nth: number): string | Error {
  if (prompt.includes('hostile')) return hostile
  if (prompt.includes('rich')) return rich
  if (prompt.includes('marked up')) return markedUp
  if (prompt.includes('mathematical')) return mathematical
  if (prompt.includes('caret')) return `- one\n- two\n  - deep ${pause} end`
  if (prompt.includes('long'))
    return `First words. ${pause} ${'More and more words follow here.\n\n'.repeat(60)} ${pause} Last words.`
  if (prompt.includes('break')) return nth === 0 ? new Error('the script says so') : 'Mended now.'
  return `Answer ${nth + 1} to “${prompt}”.`
}

describe.skipIf(lacksChromium)('the page in Chromium', { timeout: 180_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'jackdaw-page-'))
  const chat = new ScriptedModel('scripted-chat', true, script)
  const base = new ScriptedModel('scripted-base', false, (prompt) => (prompt.endsWith('two') ? ' three four' : ' two'))
  const forgetful = new ForgetfulModel('scripted-forgetful', true, () => 'So it is.')
  const short = new ShortModel('scripted-short', true, (_, nth) => (nth === 0 ? 'It begins' : ''))
  const painter = new Painter('scripted-painter', true, (prompt) => `Seen: ${prompt}`)
  const toolUser = new ToolUser('scripted-tools', true, toolScript)
  const instructed = new InstructedModel('scripted-t5', true, script)
  const faults: string[] = []
  let server: RunningServer
  let browser: Browser

  beforeAll(async () => {
    const logger = { debug() {}, error() {} }
    const store = ConversationStore.open({ dataDir: join(folder, 'data') })
    const [launched, staticDir] = await Promise.all([launchChromium(), builtPage(), store])
    browser = launched
    server = await listen({
      models: [chat, base, forgetful, instructed, short, painter, toolUser],
      store,
      logger,
      host: '127.0.0.1',
      port: 0,
      staticDir,
    })
  })

  afterAll(async () => {
    await browser?.close()
    await server?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  afterEach(async () => {
    for (const context of browser.contexts()) await context.close()
    expect(faults.splice(0)).toEqual([])
  })

  async function open(
    path = '/',
    options: BrowserContextOptions = {},
    prepare: (page: Page) => Promise<void> = async () => {},
  ): Promise<Page> {
    const context = await browser.newContext({
      viewport: { width: 1280, height: 800 },
      reducedMotion: 'reduce',
      permissions: ['clipboard-read', 'clipboard-write'],
      ...options,
    })
    const page = await context.newPage()
    page.setDefaultTimeout(40_000)
    page.on('pageerror', (error) => faults.push(`${error}`))
    page.on('console', (message) => {
      // The browser itself reports failed requests, which some tests provoke.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load')) faults.push(message.text())
    })
    page.on('request', (request) => {
      // Files are addresses in the page itself.
      if (
        !request
          .url()
          .replace(/^blob:/, '')
          .startsWith(server.url)
      )
        faults.push(`a request to ${request.url()}`)
    })
    await prepare(page)
    await page.goto(server.url + path)
    return page
  }

  const composer = (page: Page) => page.getByRole('textbox', { name: /^(Ask anything|Write how a text begins)/ })
  const button = (page: Page, name: string) => page.getByRole('button', { name, exact: true })
  /** What a screen reader is told lies outside. */
  const inMain = (page: Page, text: string) => page.getByRole('main').getByText(text).first()
  const answered = (page: Page) => button(page, 'Regenerate').last().waitFor()

  async function ask(page: Page, text: string): Promise<void> {
    await composer(page).fill(text)
    await composer(page).press('Enter')
  }

  it('streams an answer, renders Markdown with highlighted code, and tells its speed', async () => {
    const page = await open()
    await ask(page, 'something rich')
    await answered(page)
    expect(page.url()).toMatch(/\/c\/[0-9a-f-]{36}$/)
    expect(chat.requests.at(-1)).toMatchObject(PAGE_SAMPLING)
    expect(await page.locator('.markdown strong').textContent()).toBe('bold')
    expect(await page.locator('.hljs-keyword').first().textContent()).toBe('def')
    expect(await page.getByRole('cell', { name: 'pale' }).count()).toBe(1)
    expect(await page.locator('.speed').textContent()).toMatch(/^\d+ tokens · 100 tokens\/s · first after 40 ms$/)
    await button(page, 'Copy code').click()
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(
      'def caw(times):\n    return "kja" * times\n',
    )
  })

  it('shows words as they come, and stops when asked, keeping what was written', async () => {
    const page = await open()
    await ask(page, 'long, to be stopped')
    await inMain(page, 'First words.').waitFor()
    expect(await button(page, 'Regenerate').count()).toBe(0)
    await page.keyboard.press('Escape')
    await inMain(page, 'Stopped').waitFor()
    await page.reload()
    await answered(page)
    expect(await page.locator('.markdown').textContent()).toMatch(/^First words\.\s*$/)
    await inMain(page, 'Stopped').waitFor()
  })

  it('goes on with an answer after the page was loaded again, also in another tab, where it can be stopped', async () => {
    const page = await open()
    await ask(page, 'long, to be followed')
    await inMain(page, 'First words.').waitFor()
    const other = await page.context().newPage()
    await other.goto(page.url())
    await page.reload()
    for (const tab of [page, other]) await tab.locator('.is-live').getByText('First words.').waitFor()
    chat.release()
    for (const tab of [page, other]) await inMain(tab, 'More and more').waitFor()
    await button(other, 'Stop (Esc)').click()
    for (const tab of [page, other]) await inMain(tab, 'Stopped').waitFor()
    await button(page, 'Regenerate').click()
    await page.locator('.is-live').getByText('First words.').waitFor()
    for (let pauses = 0; pauses < 2; pauses++) {
      chat.release()
      await inMain(page, pauses === 0 ? 'More and more' : 'Last words.').waitFor()
    }
    await answered(page)
  })

  it('says where the model’s view of a long conversation begins', async () => {
    const page = await open()
    await page.getByRole('combobox', { name: 'Model' }).selectOption('scripted-forgetful')
    const cut = page.getByRole('note')
    for (const [turn, bird] of ['jackdaw', 'magpie', 'raven', 'rook'].entries()) {
      await ask(page, `A question of some length about the ${bird}?`)
      await expect.poll(() => page.locator('.markdown', { hasText: 'So it is.' }).count()).toBe(turn + 1)
      await answered(page)
      if (turn === 0) expect(await cut.count()).toBe(0)
    }
    await cut.getByText('it no longer reads what is above').waitFor()
    await page.reload()
    await cut.waitFor()
    const order = await page.getByRole('log').locator('.bubble, .cut').allTextContents()
    expect(order).toHaveLength(5)
    const at = order.findIndex((text) => text.includes('outgrown'))
    expect(forgetful.decode(forgetful.requests.at(-1)?.promptIds ?? []).startsWith(order[at + 1])).toBe(true)
  })

  it('gives a message back that is too long, and leaves no empty conversation in the list', async () => {
    const page = await open()
    const long = 'much too long '.repeat(2500)
    await ask(page, long)
    await inMain(page, 'this message alone has 35000; shorten it.').waitFor()
    expect(await button(page, 'Try again').count()).toBe(0)
    await button(page, 'Edit').click()
    expect(await composer(page).inputValue()).toBe(long)
    const address = page.url()
    expect(await page.locator(`nav [href="${new URL(address).pathname}"]`).count()).toBe(0)
    await page.reload()
    await expect.poll(() => composer(page).inputValue()).toBe(long)
    await ask(page, 'shorter now')
    await inMain(page, 'Answer 1 to “shorter now”.').waitFor()
    expect(page.url()).toBe(address)
  })

  it('keeps what is typed and not sent, for each conversation, when the page is loaded again', async () => {
    const page = await open()
    await ask(page, 'drafted')
    await answered(page)
    await composer(page).fill('half a thought')
    await page.keyboard.press('Control+Shift+O')
    await composer(page).fill('another')
    await page.reload()
    await expect.poll(() => composer(page).inputValue()).toBe('another')
    await page.goBack()
    await expect.poll(() => composer(page).inputValue()).toBe('half a thought')
  })

  it('draws an answer by the model that wrote it, whatever is chosen since', async () => {
    const page = await open()
    await ask(page, 'by the chat')
    await inMain(page, 'Answer 1 to “by the chat”.').waitFor()
    await answered(page)
    const picker = page.getByRole('combobox', { name: 'Model' })
    await picker.selectOption('scripted-base')
    await page.getByText('was only pre-trained').waitFor()
    expect(await page.locator('.bubble').textContent()).toBe('by the chat')
    expect(await page.locator('.passage').count()).toBe(0)
    await ask(page, 'one')
    await expect.poll(() => page.locator('.passage-text').textContent()).toBe('one two')
    await picker.selectOption('scripted-chat')
    await page.getByText('was only pre-trained').waitFor({ state: 'detached' })
    expect(await page.locator('.passage-text').textContent()).toBe('one two')
    expect(await page.locator('.bubble').allTextContents()).toEqual(['by the chat'])
    expect(await button(page, 'Write on').count()).toBe(0)
  })

  it('says where an answer was cut off, and writes on there', async () => {
    const page = await open()
    await page.getByRole('combobox', { name: 'Model' }).selectOption('scripted-short')
    await ask(page, 'to the limit')
    await inMain(page, 'Cut off at the token limit').waitFor()
    await button(page, 'Continue').click()
    await page.locator('.ending').waitFor({ state: 'detached' })
    await answered(page)
    expect(short.decode(short.requests.at(-1)?.promptIds ?? [])).toBe('to the limitIt begins')
    expect(await page.locator('.markdown').count()).toBe(1)
  })

  it('shows footnotes, task lists and wide tables so that they can be used', async () => {
    const page = await open('/', { viewport: { width: 900, height: 700 } })
    await ask(page, 'marked up')
    await answered(page)
    await ask(page, 'marked up')
    await expect.poll(() => page.locator('.footnotes').count()).toBe(2)
    await answered(page)
    await page.locator('.markdown').last().getByRole('link', { name: '2', exact: true }).click()
    await expect.poll(() => page.evaluate(() => document.activeElement?.textContent)).toContain('The second note.')
    expect(
      await page.evaluate(
        () => document.activeElement?.closest('.message') === [...document.querySelectorAll('.message-answer')].at(-1),
      ),
    ).toBe(true)
    expect(new URL(page.url()).hash).toBe('')
    expect(await page.getByRole('checkbox', { name: 'Done' }).first().isChecked()).toBe(true)
    expect(await page.getByRole('checkbox', { name: 'To do' }).first().isChecked()).toBe(false)
    const [cell, table] = await Promise.all([
      page.getByRole('cell').first().boundingBox(),
      page
        .locator('.table-scroll')
        .first()
        .evaluate((box) => box.scrollWidth - box.clientWidth),
    ])
    expect(cell?.height).toBeLessThan(60)
    expect(table).toBeGreaterThan(100)
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0)
    await audit(page, 'marked-up answers')
  })

  it('shows the tools that a model called, offers what it can be asked, and keeps the calls over a reload', async () => {
    const page = await open()
    await page.getByRole('combobox', { name: 'Model' }).selectOption('scripted-tools')
    await button(page, 'What does jackdaw mean?').click()
    await inMain(page, 'It is a small crow.').waitFor()
    await answered(page)
    const line = page.locator('.tool-use summary')
    const shown = 'dictionary(word: jackdaw) → jackdaw: a small crow; also, a thief of <b>spoons</b>'
    expect(await line.textContent()).toBe(shown)
    await line.click()
    await page.locator('.tool-use pre').waitFor()
    await audit(page, 'an answer with a tool')
    await page.reload()
    await inMain(page, 'It is a small crow.').waitFor()
    expect(await line.textContent()).toBe(shown)
    await button(page, 'Copy answer').click()
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe('It is a small crow.')
    // What was called is told to the model when it is asked again.
    await ask(page, 'And more?')
    await inMain(page, 'I know that.').waitFor()
  })

  it('sends pictures that are chosen or pasted, and keeps them with the conversation', async () => {
    const page = await open()
    expect(await button(page, 'Add pictures').count()).toBe(0)
    await page.getByRole('combobox', { name: 'Model' }).selectOption('scripted-painter')
    const [chooser] = await Promise.all([page.waitForEvent('filechooser'), button(page, 'Add pictures').click()])
    await chooser.setFiles([
      { name: 'grey-heron.png', mimeType: 'image/png', buffer: png(120) },
      { name: 'not-a-picture.png', mimeType: 'image/png', buffer: Buffer.from('<svg onload="window.stolen=6"/>') },
    ])
    const thumbnails = page.getByRole('list', { name: 'Pictures to send' }).getByRole('img')
    await page.getByText('not-a-picture.png was not added').waitFor()
    await page.evaluate(
      (bytes) => {
        const data = new DataTransfer()
        data.items.add(new File([new Uint8Array(bytes)], 'pasted.png', { type: 'image/png' }))
        document
          .querySelector('textarea')
          ?.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }))
      },
      [...png(30)],
    )
    await expect.poll(() => thumbnails.count()).toBe(2)
    await audit(page, 'pictures to send')
    await button(page, 'Remove pasted').click()
    await ask(page, 'what is this?')
    await inMain(page, 'Seen: what is this?').waitFor()
    expect(painter.requests.at(-1)?.images?.map((image) => Buffer.from(image).equals(png(120)))).toEqual([true])
    expect(await thumbnails.count()).toBe(0)
    const sent = page.locator('.message-user').getByRole('img', { name: 'grey heron' })
    await sent.waitFor()
    await page.reload()
    await expect.poll(() => sent.evaluate((image: HTMLImageElement) => image.naturalWidth)).toBe(320)
    await page.locator('.message-user').hover()
    await button(page, 'Edit and resend').click()
    await page.getByRole('textbox', { name: 'Edit the message' }).fill('and now?')
    await page.keyboard.press('Enter')
    await inMain(page, 'Seen: and now?').waitFor()
    expect(painter.requests.at(-1)?.images).toHaveLength(1)
    expect(await page.evaluate(() => 'stolen' in window)).toBe(false)
    // A model that cannot see says so, and the question is not lost.
    await page.getByRole('combobox', { name: 'Model' }).selectOption('scripted-chat')
    await button(page, 'Regenerate').last().click()
    await inMain(page, 'scripted-chat cannot see pictures').waitFor()
  })

  it('shows a picture while it is drawn, to who comes later too, and keeps it', async () => {
    const page = await open()
    await page.getByRole('combobox', { name: 'Model' }).selectOption('scripted-painter')
    await ask(page, 'draw a field')
    const preview = page.getByRole('img', { name: 'Being drawn: step 1 of 2' })
    await preview.waitFor()
    await page.getByRole('progressbar', { name: 'Drawing' }).waitFor()
    await audit(page, 'a picture being drawn')
    await page.reload()
    await preview.waitFor()
    painter.release()
    const picture = page.locator('.message-answer').getByRole('img', { name: 'A grey field' })
    await picture.waitFor()
    await answered(page)
    expect(await preview.count()).toBe(0)
    await page.reload()
    await expect.poll(() => picture.evaluate((image: HTMLImageElement) => image.naturalWidth)).toBe(320)
    await audit(page, 'a picture')
  })

  it('draws formulas, and loads what draws them when the first one comes', async () => {
    const page = await open()
    const loaded: string[] = []
    page.on('request', (request) => loaded.push(request.url()))
    await ask(page, 'plain')
    await answered(page)
    expect(loaded.filter((url) => /math-plugins|katex/i.test(url))).toEqual([])
    await ask(page, 'mathematical')
    await expect.poll(() => page.locator('.katex').count()).toBe(4)
    expect(loaded.filter((url) => /math-plugins.*\.js/i.test(url))).toHaveLength(1)
    expect(await page.locator('.katex-display').count()).toBe(2)
    expect(await page.locator('math mfrac').count()).toBe(1)
    await inMain(page, 'it costs $5, or $10.').waitFor()
    expect(await page.locator('.markdown code').textContent()).toBe('\\(code\\)')
    expect(await page.locator('.markdown a').count()).toBe(0)
    await answered(page)
    await audit(page, 'formulas')
  })

  it('has the caret behind the last word, in lists within lists too', async () => {
    const page = await open()
    await ask(page, 'where is the caret')
    await page.locator('.is-live li li', { hasText: 'deep' }).waitFor()
    expect(await page.locator('.is-live li li > .caret').count()).toBe(1)
    expect(await page.locator('.caret').count()).toBe(1)
    chat.release()
    await answered(page)
    expect(await page.locator('.caret').count()).toBe(0)
  })

  it('makes a new line with Enter while editing on a phone', async () => {
    const page = await open('/', { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true })
    await composer(page).fill('to be edited')
    await button(page, 'Send').click()
    await answered(page)
    await button(page, 'Edit and resend').click()
    const editor = page.getByRole('textbox', { name: 'Edit the message' })
    await editor.press('End')
    await editor.press('Enter')
    await editor.pressSequentially('twice')
    expect(await editor.inputValue()).toBe('to be edited\ntwice')
    await page.locator('.editor').getByRole('button', { name: 'Send' }).click()
    await inMain(page, 'Answer 1 to “to be edited').waitFor()
  })

  it('says that no server answers, and goes on by itself when one does', async () => {
    const page = await open()
    await ask(page, 'before the gap')
    await answered(page)
    const notice = page.getByText('This page goes on when it does.')
    await page.context().setOffline(true)
    await ask(page, 'during the gap')
    await notice.waitFor()
    await page.context().setOffline(false)
    await notice.waitFor({ state: 'detached' })
    await inMain(page, 'This was not sent.').waitFor()
    expect(await page.getByRole('main').getByText('The server does not answer').count()).toBe(0)
    await button(page, 'Try again').click()
    await inMain(page, 'Answer 1 to “during the gap”.').waitFor()
  })

  it('downloads a conversation as Markdown', async () => {
    const page = await open()
    expect(await button(page, 'Download as Markdown').count()).toBe(0)
    await ask(page, 'keep this: "forever"?')
    await answered(page)
    const [saved] = await Promise.all([page.waitForEvent('download'), button(page, 'Download as Markdown').click()])
    expect(saved.suggestedFilename()).toBe('keep-this-forever.md')
    expect(readFileSync(await saved.path(), 'utf8')).toBe(
      '# keep this: "forever"?\n\n## You\n\nkeep this: "forever"?\n\n## scripted-chat\n\nAnswer 1 to “keep this: "forever"?”.\n',
    )
  })

  it('shows what another tab has done when it is looked at again', async () => {
    const page = await open()
    const other = await page.context().newPage()
    await other.goto(server.url)
    await ask(other, 'from elsewhere')
    await answered(other)
    await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')))
    await page.getByRole('link', { name: 'from elsewhere' }).waitFor()
  })

  it('says that an encoder-decoder answers one instruction at a time', async () => {
    const page = await open()
    await page.getByRole('combobox', { name: 'Model' }).selectOption('scripted-t5')
    await page.getByText('answers one instruction at a time').waitFor()
    await page.getByRole('textbox', { name: 'Give an instruction' }).fill('translate')
    await page.keyboard.press('Enter')
    await inMain(page, 'Answer 1 to “translate”.').waitFor()
    await button(page, 'Settings').click()
    await page.getByRole('dialog').getByLabel('Temperature', { exact: true }).waitFor()
    expect(await page.getByLabel('System prompt').count()).toBe(0)
  })

  it('follows the end of a growing answer, unless the reader scrolled up', async () => {
    const page = await open()
    const scroller = page.getByRole('log', { name: 'Conversation' })
    const fromEnd = () => scroller.evaluate((log) => log.scrollHeight - log.clientHeight - log.scrollTop)
    await ask(page, 'long, to be watched')
    await page.locator('.markdown p:not(.plain)', { hasText: 'First words.' }).waitFor()
    chat.release()
    await expect.poll(() => scroller.evaluate((log) => log.scrollTop)).toBeGreaterThan(500)
    await expect.poll(fromEnd).toBeLessThan(2)
    await scroller.hover()
    await page.mouse.wheel(0, -600)
    await button(page, 'Jump to the latest').waitFor()
    chat.release()
    await answered(page)
    expect(await fromEnd()).toBeGreaterThan(400)
    await button(page, 'Jump to the latest').click()
    await expect.poll(fromEnd).toBeLessThan(2)
  })

  it('keeps every version of an answer and of a question, and comes back to the one shown last', async () => {
    const page = await open()
    await ask(page, 'which bird')
    await inMain(page, 'Answer 1 to “which bird”.').waitFor()
    await button(page, 'Regenerate').click()
    await inMain(page, 'Answer 2 to “which bird”.').waitFor()
    await page.getByText('2/2').waitFor()
    await button(page, 'Previous version of the answer').click()
    await inMain(page, 'Answer 1 to “which bird”.').waitFor()
    await page.getByText('You said').locator('..').hover()
    await button(page, 'Edit and resend').click()
    await page.getByRole('textbox', { name: 'Edit the message' }).fill('which fish')
    await page.keyboard.press('Enter')
    await inMain(page, 'Answer 1 to “which fish”.').waitFor()
    expect(await page.getByRole('article').getByText('which bird').count()).toBe(0)
    const switched = page.waitForResponse((response) => response.request().method() === 'PATCH')
    await button(page, 'Previous version of the message').click()
    await inMain(page, 'Answer 2 to “which bird”.').waitFor()
    await switched
    await page.reload()
    await inMain(page, 'Answer 2 to “which bird”.').waitFor()
    expect(await page.locator('.branches-count').allTextContents()).toEqual(['1/2', '2/2'])
  })

  it('finds, renames and deletes conversations, and takes a deletion back', async () => {
    const page = await open()
    await ask(page, 'pelican facts')
    await answered(page)
    await button(page, 'New chat')
      .or(page.getByRole('link', { name: 'New chat' }))
      .first()
      .click()
    await ask(page, 'heron facts')
    await answered(page)
    const list = page.getByRole('navigation', { name: 'Conversations' })
    await page.getByRole('searchbox', { name: 'Search conversations' }).fill('PELICAN')
    await page.getByText('1 found').waitFor({ state: 'attached' })
    expect(await list.getByRole('link').count()).toBe(1)
    await list.getByRole('link').click()
    await inMain(page, 'Answer 1 to “pelican facts”.').waitFor()
    await button(page, 'Rename pelican facts').click()
    await page.getByRole('textbox', { name: 'Title' }).fill('Big bills')
    await page.keyboard.press('Enter')
    await list.getByText('Big bills').waitFor()
    await expect.poll(() => page.title()).toBe('Big bills · jackdaw')
    await list.getByText('Big bills').hover()
    await button(page, 'Delete Big bills').click()
    await list.getByText('Big bills').waitFor({ state: 'detached' })
    await button(page, 'Undo').click()
    await list.getByText('Big bills').waitFor()
    await list.getByText('Big bills').hover()
    await button(page, 'Delete Big bills').click()
    await button(page, 'Undo').waitFor()
    await page.reload()
    await page.getByRole('link', { name: 'heron facts' }).waitFor()
    await expect.poll(() => page.getByText('Big bills').count()).toBe(0)
  })

  it('keeps settings with the conversation and sends them to the model', async () => {
    const page = await open()
    await ask(page, 'set me up')
    await answered(page)
    await page.keyboard.press('Control+,')
    const dialog = page.getByRole('dialog', { name: 'Settings' })
    await dialog.getByRole('textbox', { name: 'Temperature' }).fill('0.3')
    await dialog.getByRole('textbox', { name: 'Top-k' }).fill('many')
    await dialog.getByText('Top-k must be a whole number, 0 to 1,000,000.').waitFor()
    await dialog.getByRole('textbox', { name: 'Top-k' }).fill('7')
    await dialog.getByRole('textbox', { name: 'Seed' }).fill('11')
    await dialog.getByText('Saved.').waitFor()
    await page.keyboard.press('Escape')
    await dialog.waitFor({ state: 'detached' })
    await page.reload()
    await answered(page)
    await button(page, 'Settings').click()
    await expect.poll(() => dialog.getByRole('textbox', { name: 'Temperature' }).inputValue()).toBe('0.3')
    await page.keyboard.press('Escape')
    await button(page, 'Regenerate').click()
    await inMain(page, 'Answer 2 to').waitFor()
    expect(chat.requests.at(-1)).toMatchObject({ temperature: 0.3, topK: 7, seed: 11 })
  })

  it('says what failed and tries again', async () => {
    const page = await open()
    await ask(page, 'break, please')
    await button(page, 'Try again').click()
    await inMain(page, 'Mended now.').waitFor()
    // Its words are there before its end is, and until then nothing else can be asked.
    await answered(page)
    await page.route('**/reply', (route) => route.abort())
    await ask(page, 'with no line')
    await inMain(page, 'The server does not answer.').waitFor()
    await page.unroute('**/reply')
    await button(page, 'Try again').click()
    await inMain(page, 'Answer 1 to “with no line”.').waitFor()
    expect(await page.getByRole('main').getByText('with no line', { exact: true }).count()).toBe(1)
  })

  it('runs nothing and fetches nothing that a model wrote', async () => {
    const page = await open()
    await ask(page, 'something hostile')
    await inMain(page, 'The end of it.').waitFor()
    await answered(page)
    expect(await page.locator('.markdown :is(script, iframe, img, [onerror])').count()).toBe(0)
    await page.getByText('press', { exact: true }).click()
    expect(await page.locator('.markdown [href^="javascript"]').count()).toBe(0)
    expect(await page.evaluate(() => 'stolen' in window)).toBe(false)
  })

  it('rates an answer and takes the rating back', async () => {
    const page = await open()
    await ask(page, 'rate me')
    await answered(page)
    const kept = page.waitForResponse((response) => response.url().endsWith('/feedback'))
    await button(page, 'Good answer').click()
    expect((await kept).status()).toBe(200)
    await page.reload()
    const good = button(page, 'Good answer')
    await expect.poll(() => good.getAttribute('aria-pressed')).toBe('true')
    const removed = page.waitForResponse((response) => response.url().endsWith('/feedback'))
    await good.click()
    expect((await removed).status()).toBe(204)
    expect(await good.getAttribute('aria-pressed')).toBe('false')
  })

  it('asks what is wrong with a bad answer, and keeps what is said', async () => {
    const page = await open()
    await ask(page, 'complain about me')
    await answered(page)
    await button(page, 'Bad answer').click()
    const field = page.getByRole('textbox', { name: 'What is wrong with it?' })
    await expect.poll(() => field.evaluate((element) => element === document.activeElement)).toBe(true)
    await audit(page, 'the comment')
    await page.keyboard.type('Too short.')
    await page.keyboard.press('Enter')
    await inMain(page, 'Your comment: Too short.').waitFor()
    await page.reload()
    await inMain(page, 'Your comment: Too short.').waitFor()
    expect(await button(page, 'Bad answer').getAttribute('aria-pressed')).toBe('true')
    await button(page, 'Edit').click()
    expect(await field.inputValue()).toBe('Too short.')
    await page.keyboard.press('Escape')
    await button(page, 'Bad answer').click()
    await inMain(page, 'Your comment').waitFor({ state: 'detached' })
  })

  it('keeps with an answer what it was asked with, whatever is set since', async () => {
    const page = await open()
    await ask(page, 'remember this')
    await answered(page)
    await page.keyboard.press('Control+,')
    await page.getByRole('dialog').getByRole('textbox', { name: 'Temperature' }).fill('0.3')
    await page.getByRole('dialog').getByText('Saved.').waitFor()
    await page.keyboard.press('Escape')
    await page.reload()
    await answered(page)
    await button(page, 'How it was written').click()
    const settings = page.locator('.answer-settings')
    await settings.getByText('scripted-chat').waitFor()
    expect(await settings.locator('div', { hasText: 'Temperature' }).textContent()).toBe('Temperature0.7')
    const { seed } = chat.requests.at(-1) ?? {}
    expect(await settings.locator('div', { hasText: 'Seed' }).textContent()).toBe(`Seed${seed}`)
    await audit(page, 'how it was written')
  })

  it('follows the system’s theme until the reader chooses, from the first paint on', async () => {
    const page = await open('/', { colorScheme: 'dark' })
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
    const dark = await paper()
    await button(page, 'Use the light theme').click()
    const light = await paper()
    expect(light).not.toBe(dark)
    await page.reload({ waitUntil: 'commit' })
    await page.locator('body').waitFor({ state: 'attached' })
    expect(await page.evaluate(() => document.documentElement.dataset.theme)).toBe('light')
    await button(page, 'Use the dark theme').click()
    expect(await paper()).toBe(dark)
    expect(await page.evaluate(() => localStorage.getItem('theme'))).toBe(null)
  })

  it('can be used with the keyboard alone', async () => {
    const page = await open()
    const focused = () => page.evaluate(() => document.activeElement?.getAttribute('aria-label'))
    await expect.poll(focused).toBe('Ask anything')
    await page.keyboard.type('typed')
    await page.keyboard.press('Shift+Enter')
    await page.keyboard.type('on two lines')
    await page.keyboard.press('Enter')
    await inMain(page, 'Answer 1 to “typed').waitFor()
    await page.keyboard.press('Control+Shift+O')
    await expect.poll(() => new URL(page.url()).pathname).toBe('/')
    expect(await focused()).toBe('Ask anything')
    await page.keyboard.press('Control+k')
    await expect.poll(focused).toBe('Find anything')
    await page.keyboard.type('two lines')
    await expect.poll(() => page.getByRole('dialog').getByRole('option').count(), { timeout: 40_000 }).toBe(1)
    await page.keyboard.press('Enter')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    await inMain(page, 'Answer 1 to “typed').waitFor()
    await page.keyboard.press('Control+/')
    await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
  })

  it('says that a base model only continues text, and shows the continuation as one text', async () => {
    const page = await open()
    await page.getByRole('combobox', { name: 'Model' }).selectOption('scripted-base')
    await page.getByText('was only pre-trained').waitFor()
    await page.getByText('choose scripted-chat above').waitFor()
    await ask(page, 'one')
    await expect.poll(() => page.locator('.passage-text').textContent()).toBe('one two')
    await button(page, 'Write on').click()
    await expect.poll(() => page.locator('.passage-text').textContent()).toBe('one two three four')
    await button(page, 'Settings').click()
    await page.getByRole('dialog').getByLabel('Temperature', { exact: true }).waitFor()
    expect(await page.getByLabel('System prompt').count()).toBe(0)
  })

  it('says how to start with a model that chats, where the server has none', async () => {
    const page = await open('/', {}, async (page) => {
      await page.route('**/api/status', async (route) => {
        const response = await route.fetch()
        const status = (await response.json()) as Status
        await route.fulfill({ response, json: { ...status, models: status.models.filter(({ canChat }) => !canChat) } })
      })
    })
    await page.getByText('jackdaw serve --model').waitFor()
    await page.getByRole('heading', { name: 'Begin a text' }).waitFor()
    // Enlarged to twice its size, the window of a small laptop: the heading is not under what lies below it.
    await page.setViewportSize({ width: 640, height: 450 })
    const top = async (part: Locator) => (await part.boundingBox())?.y ?? 0
    const notice = await top(page.getByText('was only pre-trained'))
    expect(notice).toBeLessThan(await top(page.locator('.composer-column')))
  })

  it('fits a phone: the list is a drawer, nothing runs off the side, targets are 44 pixels', async () => {
    const page = await open('/', { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true })
    await composer(page).fill('something rich')
    await button(page, 'Send').click()
    await answered(page)
    const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    expect(await overflow()).toBe(0)
    const small = await page.locator('button:visible, select:visible').evaluateAll((controls) =>
      controls
        .map((control) => ({ name: control.getAttribute('aria-label'), box: control.getBoundingClientRect() }))
        .filter(({ box }) => box.height < 44 || box.width < 32)
        .map(({ name }) => name),
    )
    expect(small).toEqual([])
    await button(page, 'Settings').click()
    await button(page, 'Download as Markdown').waitFor()
    await page.keyboard.press('Escape')
    await button(page, 'Conversations').click()
    const drawer = page.getByRole('dialog', { name: 'jackdaw' })
    await drawer.getByRole('link', { name: 'something rich' }).first().click()
    await drawer.waitFor({ state: 'detached' })
  })

  it('speaks to screen readers once an answer is complete, not with every token', async () => {
    const page = await open()
    const said = page.getByTestId('announcer')
    await ask(page, 'long, to be heard')
    await inMain(page, 'First words.').waitFor()
    expect(await said.textContent()).toBe('Writing an answer.')
    chat.release()
    await inMain(page, 'More and more').waitFor()
    expect(await said.textContent()).toBe('Writing an answer.')
    chat.release()
    await expect.poll(() => said.textContent()).toMatch(/^Answer complete\. First words\./)
  })

  it.each(['light', 'dark'] as const)(
    'has no accessibility violations that axe-core finds (%s)',
    async (colorScheme) => {
      const page = await open('/', { colorScheme })
      await page.getByRole('heading', { level: 1 }).waitFor()
      await audit(page, 'empty page')
      await ask(page, `something rich in the ${colorScheme}`)
      await answered(page)
      await audit(page, 'conversation')
      await button(page, 'Settings').click()
      await page.getByRole('dialog').waitFor()
      await audit(page, 'settings')
      await page.keyboard.press('Escape')
      await page.keyboard.press('Control+/')
      await page.getByRole('dialog').waitFor()
      await audit(page, 'shortcuts')
    },
  )
})
