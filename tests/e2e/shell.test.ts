import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { wordTokenizerJson } from '../../src/data/word-tokenizer.ts'
import { loadServedModel } from '../../src/generate/served.ts'
import type { GenerationRequest } from '../../src/generate/types.ts'
import { encodePng } from '../../src/image/png.ts'
import { Bert } from '../../src/models/bert.ts'
import { Mqan } from '../../src/models/mqan.ts'
import { type Model, traceModel } from '../../src/nn/model.ts'
import { saveModel } from '../../src/optim/model-folder.ts'
import { listen, type RunningServer } from '../../src/server/listen.ts'
import { ConversationStore } from '../../src/server/store.ts'
import type { Message } from '../../src/server/wire.ts'
import { sizeOf, type TensorData } from '../../src/tensor/index.ts'
import { trainByteLevelBpe } from '../../src/text/bpe-trainer.ts'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'
import { percent } from '../../web/src/demos/parts/token-text.ts'
import { noStore } from '../server/support.ts'
import { fractions } from '../tensor/check.ts'
import { ScriptedModel } from './scripted-model.ts'
import { audit, builtPage, lacksChromium, launchChromium } from './site.ts'

const result = (more: object) => ({
  recipe: 'gpt2/nanogpt-shakespeare-cpu',
  paper: 'gpt2',
  claim: 'it learns to write',
  state: 'running',
  step: 0,
  settings: { steps: 200, seed: 7, learningRate: 0.001 },
  seed: 7,
  seconds: 61,
  machine: { processor: 'a processor', threads: 2, memoryGib: 8, platform: 'linux x64', provider: 'cpu' },
  versions: { node: '20.20.0', jackdaw: '0.1.0' },
  date: '2026-01-01',
  ...more,
})

const line = (step: number) =>
  `${JSON.stringify({ step, loss: 8 / Math.sqrt(step), gradNorm: 1, learningRate: 0.001, tokensPerSecond: 2000 })}\n`

const desktop = { viewport: { width: 1280, height: 800 }, reducedMotion: 'reduce' } as const

/** Long enough for a busy machine. */
const soon = { timeout: 40_000 }

const stepOf = (label: string | null): number => Number(/Step (\d+)/.exec(label ?? '')?.[1])

/** As a run leaves one. */
function tinyBert() {
  const text = 'The people want peace, and the wealth of the country is growing.'
  const tokenizer = trainByteLevelBpe([text], { vocabSize: 280, specialTokens: ['[MASK]'] })
  const model = new Bert({
    ...{ vocabSize: tokenizerFromJson(tokenizer).vocabSize, maxPositions: 64, head: 'masked-lm' },
    ...{ dModel: 8, nLayers: 1, nHeads: 1 },
  })
  return { model, weights: drawn(model), files: { 'tokenizer.json': JSON.stringify(tokenizer) } }
}

function tinyMqan() {
  const specialTokens = ['<pad>', '</s>', '<unk>']
  const words = 'has who the ? red white blue coins keys stones'.split(' ')
  const tokenizer = wordTokenizerJson(words, { specialTokens, unknown: '<unk>' })
  const model = new Mqan({
    ...{ vocabSize: specialTokens.length + words.length, extraWords: 10, maxAnswer: 4, padTokenId: 0 },
    ...{ dModel: 8, dInner: 8, nHeads: 2, nLayers: 1, unknownTokenId: 2, endTokenIds: [1] },
  })
  return { model, weights: drawn(model), files: { 'tokenizer.json': JSON.stringify(tokenizer) } }
}

function drawn(model: Model): Map<string, TensorData> {
  const draw = fractions(5)
  return new Map(
    [...traceModel(model).parameters.values()].map(({ name, shape }): [string, TensorData] => {
      const data = Float32Array.from({ length: sizeOf(shape) }, () => draw() - 0.5)
      return [name, { dtype: 'float32', shape, data }]
    }),
  )
}

/** Writes at a reader's pace. */
class SlowModel extends ScriptedModel {
  override async *generate(request: GenerationRequest) {
    for await (const event of super.generate(request)) {
      await delay(15)
      yield event
    }
  }
}

describe.skipIf(lacksChromium)('the shell and its pages in Chromium', { timeout: 180_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'jackdaw-shell-'))
  const run = join(folder, 'runs', 'lr-0.1')
  const faults: string[] = []
  let server: RunningServer
  let browser: Browser
  let context: BrowserContext
  let staticDir: string

  beforeAll(async () => {
    mkdirSync(join(run, 'samples'), { recursive: true })
    writeFileSync(join(run, 'result.json'), JSON.stringify(result({})))
    writeFileSync(join(run, 'metrics.jsonl'), '{"step":0,"valLoss":8.5}\n')
    for (let step = 1; step <= 100; step++) appendFileSync(join(run, 'metrics.jsonl'), line(step))
    writeFileSync(join(run, 'samples', 'story-00000050.jsonl'), '"half of it"\n')
    writeFileSync(join(run, 'samples', 'story-00000100.jsonl'), '"all of it"\n')
    const picture = encodePng({ width: 4, height: 4, channels: 1, data: new Uint8Array(16).fill(128) })
    writeFileSync(join(run, 'samples', 'drawn-00000100.png'), picture)

    await saveModel(join(folder, 'runs', 'masked'), tinyBert())
    await saveModel(join(folder, 'runs', 'facts', 'stages', 'joint'), tinyMqan())
    const store = ConversationStore.open({ dataDir: join(folder, 'data') })
    const [launched, built] = await Promise.all([launchChromium(), builtPage(), store])
    browser = launched
    staticDir = built
    // One for all tests: what one has loaded, the next has.
    context = await browser.newContext(desktop)
    server = await listen({
      models: [
        new ScriptedModel('scripted-chat', true, (prompt) => `Of ${prompt}.`),
        new ScriptedModel('scripted-base', false, () => ' two'),
        new SlowModel('scripted-slow', true, () => `${'word '.repeat(80)}end.`),
      ],
      store,
      logger: { debug() {}, error() {} },
      host: '127.0.0.1',
      port: 0,
      staticDir,
      runsDir: join(folder, 'runs'),
    })
  })

  afterAll(async () => {
    await browser?.close()
    await server?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  afterEach(async () => {
    for (const page of context.pages()) {
      await page.evaluate(() => localStorage.clear())
      await page.close()
    }
    for (const other of browser.contexts()) if (other !== context) await other.close()
    expect(faults.splice(0)).toEqual([])
  })

  async function open(path: string, options?: BrowserContextOptions): Promise<Page> {
    const page = await (options ? await browser.newContext({ ...desktop, ...options }) : context).newPage()
    page.setDefaultTimeout(40_000)
    page.on('pageerror', (error) => faults.push(`${error}`))
    page.on('console', (message) => {
      if (message.type() === 'error' && !message.text().startsWith('Failed to load')) faults.push(message.text())
    })
    page.on('request', (request) => {
      const { protocol } = new URL(request.url())
      if (!request.url().startsWith(server.url) && protocol !== 'blob:' && protocol !== 'data:') {
        faults.push(`a request to ${request.url()}`)
      }
    })
    await page.goto(server.url + path)
    return page
  }

  const title = (page: Page, name: string) => page.getByRole('heading', { level: 1, name, exact: true }).waitFor()
  const rail = (page: Page, name: string) => page.getByRole('navigation', { name: 'Pages' }).getByText(name)

  it('goes from page to page and back, comes back to the conversation that was open, and loads each page alone', async () => {
    const page = await open('/')
    // Threads of what runs in the tab share memory.
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true)
    await page.getByRole('textbox', { name: 'Ask anything' }).fill('towers')
    await page.keyboard.press('Enter')
    await page.getByRole('main').getByText('Of towers.').waitFor()
    const conversation = page.url()
    const loaded = () =>
      page.evaluate(() => performance.getEntriesByType('resource').map(({ name }) => name.replace(/^.*\//, '')))
    expect((await loaded()).filter((name) => /^(papers|lab|run|models)-page/.test(name))).toEqual([])
    await rail(page, 'Papers').click()
    await title(page, 'Papers')
    expect(await page.title()).toBe('Papers · jackdaw')
    await rail(page, 'Lab').click()
    await title(page, 'Lab')
    await page.goBack()
    await title(page, 'Papers')
    await rail(page, 'Chat').click()
    await page.getByRole('main').getByText('Of towers.').waitFor()
    expect(page.url()).toBe(conversation)
  })

  it('keeps every page’s address: loaded again, or wrong, it says what it is', async () => {
    const page = await open('/lab/lr-0.1')
    await title(page, 'lr-0.1')
    for (const [path, name] of [
      ['/models', 'Models'],
      ['/arena', 'Arena'],
      ['/papers/gpt2', 'GPT-2'],
      ['/nowhere', 'There is no page /nowhere'],
    ]) {
      await page.goto(server.url + path)
      await title(page, name)
    }
    await page.goto(`${server.url}/lab/no.such`)
    await page.getByText('There is no run no.such.').waitFor()
    await page.goto(`${server.url}/papers/no-such`)
    await page.getByText('There is no paper no-such.').waitFor()
  })

  it('keeps a page that fails to itself', async () => {
    const page = await open('/')
    await page.route('**/assets/models-page-*', (route) => route.abort())
    await rail(page, 'Models').click()
    await page.getByText('This page failed').waitFor()
    // React reports what the page has caught.
    expect(faults.splice(0).join()).toContain('dynamically imported module')
    await rail(page, 'Papers').click()
    await title(page, 'Papers')
  })

  it('finds anything by Ctrl K: a paper, a run, a conversation, an action', async () => {
    const page = await open('/models')
    await title(page, 'Models')
    const find = async (words: string, option: string) => {
      await page.keyboard.press('Control+k')
      await page.getByRole('combobox', { name: 'Find anything' }).fill(words)
      await page.getByRole('option', { name: option }).first().waitFor()
      await page.keyboard.press('Enter')
      await page.getByRole('dialog').waitFor({ state: 'detached' })
    }
    await find('resid', 'ResNet')
    await title(page, 'ResNet')
    await find('lr-0', 'lr-0.1')
    await title(page, 'lr-0.1')
    await find('dark th', 'Dark theme')
    expect(await page.evaluate(() => document.documentElement.dataset.theme)).toBe('dark')
    await find('new ch', 'New chat')
    await expect
      .poll(() => page.evaluate(() => document.activeElement?.getAttribute('aria-label')), soon)
      .toBe('Ask anything')
    await page.keyboard.press('Control+k')
    await page.getByRole('combobox', { name: 'Find anything' }).fill('no such thing anywhere')
    await page.getByText('Nothing is called').waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
  })

  it('lists the papers, filtered by what is in the address, each with its checks', async () => {
    const page = await open('/papers?state=in+part')
    const rows = page.locator('.paper-row')
    await rows.first().waitFor()
    const inPart = await rows.count()
    expect(await page.getByRole('button', { name: /^In part/ }).getAttribute('aria-pressed')).toBe('true')
    await page.getByRole('button', { name: /^All/ }).click()
    await expect.poll(() => rows.count(), soon).toBeGreaterThan(inPart)
    await page.getByRole('searchbox', { name: 'Find a paper' }).fill('unsupervised multitask')
    await expect.poll(() => rows.count(), soon).toBe(1)
    expect(page.url()).toContain('q=unsupervised')
    await page.reload()
    await expect.poll(() => rows.count(), soon).toBe(1)
    await page.getByRole('main').focus()
    await page.keyboard.press('Control+Shift+F')
    expect(await page.evaluate(() => document.activeElement?.getAttribute('aria-label'))).toBe('Find a paper')
    expect(await rows.getByRole('list', { name: 'Checks' }).textContent()).toMatch(/^same: .*learns: .*usable: /)
    await page.getByRole('link', { name: 'GPT-2' }).click()
    await title(page, 'GPT-2')
    await page.getByText('layer normalisation moves to the input').waitFor()
    const block = page.locator('.source-section', { hasText: 'x + attention(LN(x))' })
    expect(await block.locator('.listing').textContent()).toContain('export function gpt2Block')
    expect(await block.locator('.hljs-keyword').first().textContent()).toBe('export')
    await page.getByText('jackdaw train gpt2/nanogpt-shakespeare-cpu').waitFor()
    await page.goBack()
    await expect.poll(() => rows.count(), soon).toBe(1)
  })

  it('follows a run: its figures, curves, samples and end', async () => {
    const page = await open('/lab')
    await page.getByText('step 100 of 200').waitFor()
    await page.getByRole('link', { name: 'lr-0.1' }).click()
    await title(page, 'lr-0.1')
    const loss = page.locator('.figures-row div', { has: page.getByText('loss', { exact: true }) }).locator('dd')
    await expect.poll(() => loss.textContent(), soon).toBe('0.8')
    expect(await page.locator('.chart-name').allTextContents()).toEqual([
      'Loss',
      'Learning rate',
      'Gradient norm',
      'Tokens/s',
    ])
    await page.getByText('all of it').waitFor()
    const picture = page.getByRole('img', { name: 'drawn after step 100' })
    await expect.poll(() => picture.evaluate((image) => (image as HTMLImageElement).naturalWidth), soon).toBe(4)
    await page.getByRole('slider', { name: /^after step/ }).press('ArrowLeft')
    await page.getByText('half of it').waitFor()

    // The cursor of one chart is that of all.
    const curve = page.getByRole('slider', { name: 'Loss' })
    await curve.press('Home')
    await curve.press('ArrowRight')
    expect(await curve.getAttribute('aria-valuetext')).toMatch(/^step 1 · 8 /)
    await expect.poll(() => page.locator('.chart-reading').last().textContent(), soon).toMatch(/^step 1 · 2,000/)

    const asked: string[] = []
    page.on('request', (request) => asked.push(request.url()))
    for (let step = 101; step <= 200; step++) appendFileSync(join(run, 'metrics.jsonl'), line(step))
    await page.getByText('step 200 of 200').waitFor()
    await expect.poll(() => loss.textContent(), soon).toBe('0.5657')
    expect(asked.filter((url) => url.includes('/metrics')).every((url) => /cursor=\d{3,}\./.test(url))).toBe(true)
    const figures = [
      {
        title: 'Size and skill',
        x: 'parameters',
        logX: true,
        lines: {
          ours: [
            [1e6, 0.25],
            [1e7, 0.5],
          ],
        },
      },
    ]
    const ended = { state: 'finished', holds: true, step: 200, figures }
    writeFileSync(join(run, 'result.json'), JSON.stringify(result(ended)))
    await page.getByText('It holds.').waitFor()
    await page.getByRole('img', { name: 'Size and skill. ours 1.0e6: 0.25, 1.0e7: 0.5' }).waitFor()
    await page.locator('.chip-finished').waitFor()
  })

  it('opens a long conversation at its end, draws the rest of it when there is time, and is never held up for long', async () => {
    const answer = (i: number) =>
      `Answer **${i}**.\n\n- one\n- two\n\n\`\`\`ts\nconst x = ${i}\n\`\`\`\n\n| a |\n|---|\n| 1 |`
    const idOf = (i: number) => `00000000-0000-4000-8000-${`${i}`.padStart(12, '0')}`
    const [id, createdAt] = [idOf(0), '2026-01-01T00:00:00.000Z']
    const messages = Array.from({ length: 300 }, (_, i): Message => {
      const asks = i % 2 === 0
      return {
        id: idOf(i + 1),
        conversationId: id,
        parentId: i === 0 ? null : idOf(i),
        role: asks ? 'user' : 'assistant',
        content: asks ? `Question ${i + 1}` : answer(i + 1),
        parts: [{ type: 'text', text: asks ? `Question ${i + 1}` : answer(i + 1) }],
        settings: null,
        model: asks ? null : 'scripted-chat',
        finishReason: asks ? null : 'stop',
        usage: null,
        omitted: 0,
        feedback: null,
        createdAt,
      }
    })
    const stored = { id, title: 'long', settings: {}, activeMessageId: idOf(300), createdAt, updatedAt: createdAt }
    const page = await open('/models')
    await title(page, 'Models')
    await page.route(`**/api/conversations/${id}`, (route) => route.fulfill({ json: { ...stored, messages } }))
    await page.addInitScript(() => {
      const tasks: number[] = []
      Object.assign(window, { tasks })
      new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({
        type: 'longtask',
        buffered: true,
      })
    })
    await page.goto(`${server.url}/c/${id}`)
    await page.getByText('Answer 300.').waitFor()
    const turns = page.locator('article')
    await expect.poll(() => turns.count(), { timeout: 20_000 }).toBe(300)
    const log = page.getByRole('log', { name: 'Conversation' })
    await expect.poll(() => log.evaluate((e) => e.scrollHeight - e.clientHeight - e.scrollTop), soon).toBeLessThan(2)
    const tasks = await page.evaluate(() => (window as unknown as { tasks: number[] }).tasks)
    expect(Math.max(0, ...tasks)).toBeLessThan(1000)
  })

  it('draws nothing of the list while an answer comes: a long one costs what an empty one does', async () => {
    const listed = (count: number) =>
      Array.from({ length: count }, (_, i) => ({
        id: `00000000-0000-4000-9000-${`${i}`.padStart(12, '0')}`,
        title: `A conversation about ${i}`,
        createdAt: '2026-01-01T00:00:00.000Z',
        updatedAt: '2026-01-01T00:00:00.000Z',
        snippet: null,
      }))
    /** Milliseconds of script while an answer of 80 words comes in. */
    const scriptMs = async (count: number) => {
      const page = await open('/models')
      await page.route(/\/api\/conversations\?/, (route) =>
        route.fulfill({ json: { conversations: listed(count), nextCursor: null } }),
      )
      await page.reload()
      await page.getByRole('button', { name: 'Begin a chat with scripted-slow' }).click()
      await expect.poll(() => page.locator('.conversation').count(), soon).toBe(count)
      const devtools = await page.context().newCDPSession(page)
      await devtools.send('Performance.enable')
      const scripted = async () =>
        (await devtools.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'ScriptDuration')?.value ??
        0
      await page.getByRole('textbox', { name: 'Ask anything' }).fill('Go on')
      await page.keyboard.press('Enter')
      await page.getByRole('main').getByText('word word').waitFor()
      const before = await scripted()
      await page.getByRole('main').getByText('end.').waitFor()
      return 1000 * ((await scripted()) - before)
    }
    const [empty, long] = [await scriptMs(0), await scriptMs(600)]
    // Drawn with every word, six hundred entries take seconds.
    expect(long).toBeLessThan(2 * empty + 150)
  })

  it('asks for the key of a server that has one, on every page', async () => {
    const keyed = await listen({
      models: [new ScriptedModel('scripted-chat', true, () => 'So.')],
      store: noStore(),
      logger: { debug() {}, error() {} },
      host: '127.0.0.1',
      port: 0,
      apiKey: 'secret',
      staticDir,
      runsDir: join(folder, 'runs'),
    })
    try {
      const page = await open('/models')
      page.on('request', () => faults.splice(0)) // these go to the other server
      await page.goto(`${keyed.url}/lab/lr-0.1`)
      await page.getByLabel('This server wants its API key').fill('secret')
      await page.getByRole('button', { name: 'Open' }).click()
      const picture = page.getByRole('img', { name: 'drawn after step 100' })
      await expect.poll(() => picture.evaluate((image) => (image as HTMLImageElement).naturalWidth), soon).toBe(4)
    } finally {
      await keyed.close()
    }
  })

  it('tells what is served, and begins a chat with it', async () => {
    const page = await open('/models')
    await page.getByText('continues a text').waitFor()
    await page.getByRole('button', { name: 'Begin a text with scripted-base' }).click()
    await page.getByRole('heading', { name: 'Begin a text' }).waitFor()
    expect(await page.getByRole('combobox', { name: 'Model' }).inputValue()).toBe('scripted-base')
  })

  describe('what can be tried on a paper’s page', () => {
    // One page for all of it: what runs models is loaded once.
    it('gives the server’s probabilities in the tab, attention, beams, tokens, and answers after more examples', async () => {
      const page = await open('/papers/llama')
      const bars = page.getByRole('list', { name: /^What may come next/ }).getByRole('button')
      await bars.first().waitFor()
      // The page scrolls within the window: what is for screen readers only does not make the document longer.
      expect(await page.evaluate(() => document.documentElement.scrollHeight - innerHeight)).toBe(0)
      const field = page.getByRole('textbox', { name: 'Text' })
      const text = await field.inputValue()
      const served = await loadServedModel('jackdaw-base')
      const likeliest: string[] = []
      for await (const event of served.generate({
        promptIds: await served.encode(text),
        maxNewTokens: 1,
        topLogProbs: 5,
      })) {
        if (event.type !== 'token') continue
        for (const { text, logProb } of event.topLogProbs ?? [])
          likeliest.push(`${text.trim()}, ${percent(Math.exp(logProb))}`)
      }
      const heard = (all: Element[]) =>
        all.map((bar) =>
          [...bar.children]
            .slice(1)
            .map((part) => part.textContent)
            .join(''),
        )
      const named = await bars.evaluateAll(heard)
      expect(named.slice(0, 5)).toEqual(likeliest)
      await bars.first().click()
      const longer = `${text} ${likeliest[0].split(',')[0]}`
      expect(await field.inputValue()).toBe(longer)
      await expect.poll(() => bars.evaluateAll(heard), soon).not.toEqual(named)

      await page.getByRole('tab', { name: 'Attention, head by head' }).click()
      const words = page.getByRole('list', { name: 'Who looks' }).getByRole('button')
      await words.first().click()
      // The first word sees only itself.
      await page.getByText('takes 100 % of “The”').waitFor()

      await rail(page, 'Papers').click()
      await page.getByRole('link', { name: 'T5', exact: true }).click()
      await page.getByRole('tab', { name: 'Beam search as a tree' }).click()
      await page.getByRole('slider', { name: 'Beams' }).fill('2')
      const found = page.getByRole('table', { name: /^What was found/ }).getByRole('row')
      await expect.poll(() => found.count(), soon).toBe(3)
      // Six tokens, of each step two sequences, and the way of the best.
      await expect.poll(() => page.locator('.node').count(), soon).toBe(12)
      expect(await page.locator('.node.is-best').count()).toBe(6)

      await page.getByRole('tab', { name: 'What a model reads' }).click()
      const tokens = page.getByRole('list', { name: 'Tokens' }).getByRole('listitem')
      await page.getByRole('textbox', { name: 'Text' }).fill('caw')
      await expect.poll(() => tokens.allTextContents(), soon).toEqual(['c99', 'a97', 'w119'])
      await page.getByRole('combobox', { name: 'Tokenizer of' }).selectOption('jackdaw-base')
      await expect.poll(() => tokens.count(), soon).toBeLessThan(3)

      await rail(page, 'Papers').click()
      await page.getByRole('link', { name: 'LLaMA' }).click()
      await page.getByRole('tab', { name: 'Learning from examples in the prompt' }).click()
      await page.getByRole('combobox', { name: 'Model' }).selectOption('jackdaw-base')
      await page.getByRole('combobox', { name: 'Task' }).selectOption('The same word again')
      const curve = page.getByRole('img', { name: /^Mean probability/ })
      await expect.poll(() => curve.getAttribute('aria-label'), soon).toMatch(/8: \d/)
      const [, none, eight] = /0: (.+?) %.*8: (.+?) %/.exec((await curve.getAttribute('aria-label')) ?? '') ?? []
      expect(Number(eight)).toBeGreaterThan(Number(none.replace('under ', '')))
      await page.getByRole('slider', { name: 'K, examples' }).fill('8')
      expect(await page.locator('.demo .listing').innerText()).toMatch(/^(\w+: \w+\n){8}whale: whale$/)
    })

    it('fills blanks with the models that runs have left, and says of the others how to train them', async () => {
      const page = await open('/papers/bert')
      const bert = page.getByRole('region', { name: 'BERT' })
      await expect.poll(() => bert.getByRole('table', { name: 'Blank 2' }).getByRole('row').count(), soon).toBe(4)
      await page.getByRole('textbox', { name: /^Text, with ___/ }).fill('the ___')
      await expect.poll(() => bert.getByRole('table').count(), soon).toBe(1)
      await page.getByRole('region', { name: 'T5' }).getByText('No small T5 is here yet.').waitFor()

      await page.goto(`${server.url}/papers/decanlp`)
      const answer = page.getByRole('list', { name: 'Answer' }).getByRole('button')
      await answer.last().click()
      await page.getByText(/out of the vocabulary, .* copied from the context/).waitFor()
      const pointed = page.getByRole('list', { name: 'Context, pointed at' }).getByRole('listitem')
      expect(await pointed.count()).toBe(15)
      expect(await pointed.last().textContent()).toMatch(/^keys[\d.]+ %$/)
    })

    it('keeps a pole up with the shipped policy; pushed often enough, or left alone, it falls', async () => {
      const page = await open('/papers/ppo', { reducedMotion: 'reduce' })
      const cart = page.getByRole('img', { name: /^A pole on a cart/ })
      const step = page.getByRole('button', { name: 'One step' })
      // What moves does so when it is asked to.
      await cart.waitFor()
      expect(await cart.getAttribute('aria-label')).toMatch(/Step 0,/)
      await step.click()
      await expect.poll(() => cart.getAttribute('aria-label'), soon).toMatch(/Step 1,/)
      await page.getByRole('button', { name: 'Play' }).click()
      // Driven at random, hardly any pole stays up for so long.
      await expect.poll(async () => stepOf(await cart.getAttribute('aria-label')), soon).toBeGreaterThan(150)
      await page.getByRole('button', { name: 'Pause' }).click()
      await step.focus()
      await page.keyboard.press('ArrowLeft')
      await page.getByText(/Pushed to the left at step \d+\./).waitFor()
      for (let i = 0; i < 8; i++) await page.keyboard.press('ArrowRight')
      await page.getByRole('button', { name: 'Play' }).click()
      await page.getByText(/Over after \d+ steps\./).waitFor()
      await audit(page, 'cartpole', '.demo:not([hidden])')
    })

    it('keeps a demo that fails to itself', async () => {
      const page = await open('/models')
      await page.route('**/api/tab-models/**', (route) => route.fulfill({ status: 500, json: {} }))
      await page.evaluate(() => history.pushState({}, '', '/papers/llama'))
      await page.reload()
      await page.getByText('The server answered 500.').waitFor()
      await page.getByRole('heading', { name: 'The equations and the code' }).waitFor()
    })
  })

  it.each([
    ['light', { width: 1280, height: 800 }],
    ['dark', { width: 390, height: 844 }],
  ] as const)('has nothing that axe-core finds, and runs off no side (%s)', async (colorScheme, viewport) => {
    const isMobile = viewport.width < 500
    const page = await open('/papers', { colorScheme, viewport, isMobile, hasTouch: isMobile })
    const look = async (path: string, there: string) => {
      await page.getByRole('main').getByText(there).first().waitFor()
      expect(new URL(page.url()).pathname).toBe(path)
      await audit(page, path)
      expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), path).toBe(0)
    }
    const link = (name: string) => page.getByRole('main').getByRole('link', { name, exact: true })
    await look('/papers', 'GPT-2')
    await link('LLaMA').click()
    await page.getByRole('list', { name: /^What may come next/ }).waitFor()
    await look('/papers/llama', 'The equations and the code')
    for (const [demo, there] of [
      ['What a model reads', page.getByText('tokens for')],
      ['Attention, head by head', page.getByRole('button', { name: 'layer 4, head 6' })],
    ] as const) {
      await page.getByRole('tab', { name: demo }).click()
      await there.waitFor()
      await audit(page, demo, '.demo:not([hidden])')
      expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), demo).toBe(0)
    }
    await rail(page, 'Lab').click()
    await look('/lab', 'lr-0.1')
    await link('lr-0.1').click()
    await look('/lab/lr-0.1', 'Samples')
    await rail(page, 'Models').click()
    await look('/models', 'scripted-base')
    await page.keyboard.press('Control+k')
    await page.getByRole('dialog').getByRole('option').first().waitFor()
    await audit(page, 'palette')
    await page.goto(`${server.url}/arena`)
    await look('/arena', 'No votes yet.')
  })
})
