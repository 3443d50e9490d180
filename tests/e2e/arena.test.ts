import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { listen, type RunningServer } from '../../src/server/listen.ts'
import { ConversationStore } from '../../src/server/store.ts'
import { pause, ScriptedModel } from './scripted-model.ts'
import { audit, builtPage, lacksChromium, launchChromium } from './site.ts'

const desktop = { viewport: { width: 1280, height: 800 }, reducedMotion: 'reduce' } as const

describe.skipIf(lacksChromium)('the arena in Chromium', { timeout: 180_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'jackdaw-arena-page-'))
  const says = (name: string) => (prompt: string, nth: number) =>
    prompt.includes('wait')
      ? `${name} begins ${pause} and ends.`
      : prompt.includes('rank')
        ? `${['red', 'green', 'blue', 'white'][nth % 4]} words of ${name}.`
        : `Says ${name} of ${prompt}.`
  const heron = new ScriptedModel('heron', true, says('H'))
  const finch = new ScriptedModel('finch', true, says('F'))
  const faults: string[] = []
  let server: RunningServer
  let store: ConversationStore
  let browser: Browser

  beforeAll(async () => {
    const opening = ConversationStore.open({ dataDir: join(folder, 'data') })
    const [launched, staticDir, opened] = await Promise.all([launchChromium(), builtPage(), opening])
    browser = launched
    store = opened
    server = await listen({
      ...{ models: [heron, finch], store, staticDir, host: '127.0.0.1', port: 0, runsDir: join(folder, 'runs') },
      logger: { debug() {}, error() {} },
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

  async function open(path = '/arena', options: BrowserContextOptions = {}): Promise<Page> {
    const page = await (await browser.newContext({ ...desktop, ...options })).newPage()
    page.setDefaultTimeout(40_000)
    page.on('pageerror', (error) => faults.push(`${error}`))
    page.on('console', (message) => {
      if (message.type() === 'error' && !message.text().startsWith('Failed to load')) faults.push(message.text())
    })
    await page.goto(server.url + path)
    return page
  }
  const ask = async (page: Page, question: string, field = 'Ask both') => {
    await page.getByRole('textbox', { name: field }).fill(question)
    await page.keyboard.press('Enter')
  }
  const better = (page: Page) => page.getByRole('button', { name: 'First is better' })
  /** The answers are there, and may be voted on. */
  const complete = async (page: Page) => {
    await better(page).and(page.locator(':enabled')).waitFor()
    await page.getByRole('heading', { level: 1 }).click()
  }
  const voted = async () => (await store.votedComparisons()).at(-1)!

  it('shows two answers without names, takes a vote by key, and then says whose they are', async () => {
    const page = await open()
    await ask(page, 'coins')
    await complete(page)
    const round = page.getByRole('region', { name: 'Two answers' })
    await round.getByText('Says H of coins.').waitFor()
    await round.getByText('Says F of coins.').waitFor()
    const before = await round.innerText()
    expect(before).not.toMatch(/heron|finch|Temperature/)
    await page.getByRole('button', { name: 'Add a comment' }).click()
    await page.getByRole('textbox', { name: 'Comment' }).fill('more to the point')
    // Typed into a field, a key is a letter.
    await page.keyboard.type(' 1t')
    await page.getByRole('heading', { level: 1 }).click()
    await page.keyboard.press('2')
    await round.getByRole('heading', { name: 'heron' }).waitFor()
    await round.getByRole('heading', { name: 'finch' }).waitFor()
    expect(await round.getByText('Temperature').count()).toBe(2)
    const kept = await voted()
    expect(kept.vote).toMatchObject({ groups: [[1], [0]], comment: 'more to the point 1t', allBad: false })
    expect(kept.vote?.voter).toMatch(/^browser-[0-9a-f]{8}$/)
    const winner = kept.answers[1].model
    await page.getByRole('row', { name: new RegExp(`^${winner} 1 0 0 100 %`) }).waitFor()

    await page.keyboard.press('n')
    expect(await page.evaluate(() => document.activeElement?.tagName)).toBe('TEXTAREA')
    for (const [key, groups, allBad] of [
      ['t', [[0, 1]], false],
      ['b', [[0, 1]], true],
      ['1', [[0], [1]], false],
    ] as const) {
      await ask(page, `more for ${key}`)
      await complete(page)
      await page.keyboard.press(key)
      const next = page.getByRole('button', { name: /^Next question/ })
      await next.waitFor()
      expect((await voted()).vote).toMatchObject({ groups, allBad })
      await next.click()
    }
    await page.getByText('4 comparisons.').waitFor()
  })

  it('loses nothing when it is loaded again while answers are written', async () => {
    const page = await open()
    await ask(page, 'wait for it')
    await page.getByText('H begins').waitFor()
    await page.getByText('F begins').waitFor()
    expect(await better(page).isEnabled()).toBe(false)
    await page.getByRole('textbox', { name: 'Ask both' }).fill('what comes next')
    await page.reload()
    await page.getByText('H begins').waitFor()
    heron.release()
    finch.release()
    await page.getByText('H begins and ends.').waitFor()
    await page.getByText('F begins and ends.').waitFor()
    await complete(page)
    expect(await page.getByRole('textbox', { name: 'Ask both' }).inputValue()).toBe('what comes next')
    await page.keyboard.press('1')
    await page.getByRole('heading', { name: 'heron' }).waitFor()
    await page.reload()
    await page.getByRole('heading', { name: 'heron' }).waitFor()
    expect(await better(page).count()).toBe(0)
    await page.getByRole('button', { name: 'Delete this comparison' }).click()
    await better(page).waitFor({ state: 'detached' })
    await expect
      .poll(async () => (await store.votedComparisons()).some(({ messages }) => messages[0].content === 'wait for it'))
      .toBe(false)
  })

  it('stops answers, and has the same model twice with other settings', async () => {
    const page = await open()
    const models = page.getByRole('combobox')
    await models.first().selectOption('heron')
    await models.last().selectOption('heron')
    await page.getByText('Usual settings').first().click()
    await page.getByRole('textbox', { name: 'Temperature' }).first().fill('0.2')
    await page.getByText('1 setting changed').click()
    await ask(page, 'wait here')
    await page.getByText('H begins').first().waitFor()
    await page.keyboard.press('Escape')
    await page.getByText('Stopped').first().waitFor()
    await complete(page)
    await page.keyboard.press('t')
    await page.getByRole('button', { name: /^Next question/ }).waitFor()
    const { answers } = await voted()
    expect(answers.map(({ model }) => model)).toEqual(['heron', 'heron'])
    expect(answers.map(({ settings }) => settings.temperature).sort()).toEqual([0.2, 0.7])
    await page.getByRole('rowheader', { name: 'heron · temperature 0.2', exact: true }).waitFor()
    // As it was chosen, also the next time.
    await page.reload()
    await page.getByText('1 setting changed').waitFor()
    expect(await models.first().inputValue()).toBe('heron')
  })

  it('ranks several answers by keys, buttons and dragging', async () => {
    const page = await open('/arena?mode=rank')
    await page.getByRole('combobox', { name: 'Model' }).selectOption('finch')
    await ask(page, 'rank these', 'Ask for several answers')
    const cards = page.getByRole('region', { name: 'Answers to rank' }).getByRole('listitem')
    const keep = page.getByRole('button', { name: 'All are as good' })
    await keep.and(page.locator(':enabled')).waitFor()
    const order = () => cards.evaluateAll((all) => all.map((card) => card.getAttribute('aria-label')))
    expect(await order()).toEqual(['Answer 1', 'Answer 2', 'Answer 3', 'Answer 4'])
    await page.getByRole('heading', { level: 1 }).click()
    await page.keyboard.press('3')
    await page.keyboard.press('ArrowUp')
    expect(await order()).toEqual(['Answer 3', 'Answer 1', 'Answer 2', 'Answer 4'])
    // The handle keeps the focus, wherever its card goes.
    await page.keyboard.press('ArrowDown')
    expect(await order()).toEqual(['Answer 1', 'Answer 2', 'Answer 4', 'Answer 3'])
    await page.getByRole('button', { name: 'Answer 2: better' }).click()
    expect(await order()).toEqual(['Answer 2', 'Answer 1', 'Answer 4', 'Answer 3'])
    const handle = page.getByRole('button', { name: /^Answer 4, number/ })
    await handle.dragTo(cards.first(), { targetPosition: { x: 60, y: 4 } })
    expect(await order()).toEqual(['Answer 4', 'Answer 2', 'Answer 1', 'Answer 3'])
    await page.keyboard.press('3')
    await page.keyboard.press('t')
    await page.getByRole('button', { name: 'Answer 3: untie' }).waitFor()
    await audit(page, 'ranking')
    await page.getByRole('button', { name: 'Keep this order' }).click()
    await page.getByRole('heading', { name: 'finch, answer 4' }).waitFor()
    const kept = await voted()
    expect(kept.vote?.groups).toEqual([[3], [1], [0, 2]])
    expect(new Set(kept.answers.map(({ settings }) => settings.seed)).size).toBe(4)

    const [file] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Download as JSONL' }).click(),
    ])
    const lines = readFileSync(await file.path(), 'utf8')
      .trim()
      .split('\n')
    const last = JSON.parse(lines.at(-1)!) as { answers: unknown[] }
    const text = (place: number) => kept.answers[place].content
    expect(last.answers).toEqual([text(3), text(1), [text(0), text(2)]])
  })

  it.each([
    ['light', { width: 1280, height: 800 }],
    ['dark', { width: 390, height: 844 }],
  ] as const)('has nothing that axe-core finds, and runs off no side (%s)', async (colorScheme, viewport) => {
    const isMobile = viewport.width < 500
    const page = await open('/arena', { colorScheme, viewport, isMobile, hasTouch: isMobile })
    const fits = async (what: string) => {
      await audit(page, what)
      expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), what).toBe(0)
    }
    await page.getByRole('textbox', { name: 'Ask both' }).fill('a long question '.repeat(20))
    await page.getByRole('button', { name: 'Send' }).click()
    await better(page).and(page.locator(':enabled')).waitFor()
    await fits('before the vote')
    await page.getByText('Usual settings').first().click()
    await fits('settings')
    await page.getByRole('button', { name: 'Both are bad' }).click()
    await page.getByRole('button', { name: /^Next question/ }).waitFor()
    await fits('after the vote')
  })
})
