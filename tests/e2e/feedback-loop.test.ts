import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { JACKDAW_CHAT_TEMPLATE } from '../../src/data/instruction/conversation.ts'
import { loadServedModel } from '../../src/generate/served.ts'
import { Llama } from '../../src/models/llama.ts'
import { saveModel } from '../../src/optim/model-folder.ts'
import { listen, type RunningServer } from '../../src/server/listen.ts'
import { ConversationStore } from '../../src/server/store.ts'
import { trainByteLevelBpe } from '../../src/text/bpe-trainer.ts'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'
import { drawnWeights } from '../generate/tiny.ts'
import { audit, builtPage, lacksChromium, launchChromium } from './site.ts'

// Node 20 runs no TypeScript; Vite's module runner does.
const runTypeScript = `import { runnerImport } from 'vite'; await runnerImport(process.argv[1], { configFile: false })`
const soon = { timeout: 60_000 }

/** A model of a few thousand parameters that has seen nothing, and chats. */
async function tinyChat(folder: string): Promise<string> {
  const path = join(folder, 'tiny')
  const json = trainByteLevelBpe(['red green blue what is a colour user assistant system '.repeat(5)], {
    vocabSize: 300,
    specialTokens: ['<|endoftext|>', '<|im_start|>', '<|im_end|>'],
  })
  const tokenizer = tokenizerFromJson(json, { eos_token: '<|im_end|>' })
  const model = new Llama({
    ...{ vocabSize: tokenizer.vocabSize, maxPositions: 256, dModel: 16, nLayers: 2, nHeads: 2, headDim: 8, dInner: 32 },
    tieWordEmbeddings: true,
  })
  const config = { ...tokenizer.toConfigJSON(), chat_template: JACKDAW_CHAT_TEMPLATE }
  await saveModel(path, {
    ...{ model, weights: drawnWeights(model) },
    files: { 'tokenizer.json': JSON.stringify(tokenizer.toJSON()), 'tokenizer_config.json': JSON.stringify(config) },
  })
  return path
}

describe.skipIf(lacksChromium)('the loop of feedback in Chromium', { timeout: 300_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'jackdaw-loop-'))
  const faults: unknown[] = []
  let server: RunningServer
  let browser: Browser

  beforeAll(async () => {
    const store = ConversationStore.open({ dataDir: join(folder, 'data') })
    const [launched, staticDir, model] = await Promise.all([
      launchChromium(),
      builtPage(),
      tinyChat(folder).then((path) => loadServedModel(path)),
    ])
    browser = launched
    const child = fileURLToPath(new URL('train-child.ts', import.meta.url))
    server = await listen({
      ...{ models: [model], store, staticDir, runsDir: join(folder, 'runs'), host: '127.0.0.1', port: 0 },
      logger: { debug() {}, error: (error: unknown) => void faults.push(error) },
      loadModel: (path) => loadServedModel(path),
      training: { command: [process.execPath, '--input-type=module', '-e', runTypeScript, child] },
    })
  })
  afterAll(async () => {
    await browser?.close()
    await server?.close()
    rmSync(folder, { recursive: true, force: true })
    expect(faults).toEqual([])
  })

  it('goes from a ranking to a reward model, to PPO, to a model in the picker, and to its win rate', async () => {
    const page = await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage()
    page.setDefaultTimeout(60_000)
    await page.goto(`${server.url}/arena?mode=rank`)
    const train = page.getByRole('button', { name: /^Train a reward model on/ })
    await page.getByText('It needs 10 pairs of answers of which one is better; there are 0.').waitFor()
    expect(await train.isEnabled()).toBe(false)

    // Rank, short answers of two prompts.
    await page.getByText('Usual settings').click()
    await page.getByRole('textbox', { name: 'Max tokens' }).fill('6')
    for (const question of ['what is red', 'what is blue']) {
      await page.getByRole('textbox', { name: 'Ask for several answers' }).fill(question)
      await page.keyboard.press('Enter')
      await page.getByRole('button', { name: 'All are as good' }).and(page.locator(':enabled')).waitFor()
      for (const answer of [2, 3, 4]) await page.getByRole('button', { name: `Answer ${answer}: worse` }).click()
      await page.getByRole('button', { name: 'Keep this order' }).click()
      await page.getByRole('button', { name: /^Next question/ }).click()
    }

    // Export.
    const [file] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Download as JSONL' }).click(),
    ])
    const [line] = readFileSync(await file.path(), 'utf8')
      .trim()
      .split('\n')
    expect(JSON.parse(line)).toMatchObject({ messages: [{ role: 'user', content: 'what is red' }], allBad: false })
    expect(JSON.parse(line).answers.length).toBe(4)

    // A reward model, and PPO against it: a click each.
    await train.and(page.locator(':enabled')).click()
    const judge = page.getByRole('listitem', { name: 'tiny-reward-1' })
    await judge.getByText('Reward model, from tiny, on 2 comparisons').waitFor()
    await judge.getByRole('button', { name: 'Train tiny against it' }).click(soon)
    const taught = page.getByRole('listitem', { name: 'tiny-ppo-1' })
    await taught.getByText('tiny against tiny-reward-1, on 2 prompts').waitFor()
    // The lab follows it.
    await taught.getByRole('link', { name: 'tiny-ppo-1' }).click(soon)
    for (const name of ['Reward', 'KL', 'Entropy', 'Length']) {
      await page.getByRole('slider', { name, exact: true }).waitFor()
    }
    await page.getByText(/^It is served as tiny-ppo-1/).waitFor(soon)
    await audit(page, 'the run')

    // The picker has it, and the arena compares.
    await page.goto(`${server.url}/`)
    const picker = page.getByRole('combobox', { name: 'Model' })
    await expect.poll(() => picker.locator('option').allTextContents(), soon).toEqual(['tiny', 'tiny-ppo-1'])
    await page.goto(`${server.url}/arena`)
    await taught.getByRole('button', { name: 'Compare it with tiny' }).click()
    await page.getByRole('textbox', { name: 'Ask both' }).fill('what is green')
    await page.keyboard.press('Enter')
    const better = page.getByRole('button', { name: 'First is better' })
    await better.and(page.locator(':enabled')).click()
    await page.getByRole('button', { name: /^Next question/ }).waitFor()
    const first = await page.getByRole('article', { name: 'First answer' }).locator('.card-head h2').innerText()
    const rate = first === 'tiny-ppo-1' ? '100 % (21 to 100)' : '0 % (0 to 79)'
    await taught.getByText(`Wins against tiny: ${rate}`).waitFor()
    await audit(page, 'the arena')
  })
})
