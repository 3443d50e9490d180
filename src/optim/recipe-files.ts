import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { basename, extname, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Recipe } from './recipe.ts'

/** Recipes on disk: recipes/PAPER/EXPERIMENT.ts, beside the sources as beside what is built of them. */

const FOLDER = new URL('../../recipes/', import.meta.url)
const FILE = /^([\w-]+)\.(js|ts)$/

export interface RecipeFile {
  /** `gpt2/nanogpt-shakespeare-cpu` */
  readonly name: string
  /** `nanogpt-shakespeare-cpu` */
  readonly experiment: string
  readonly recipe: Recipe
}

/** A recipe that cannot be loaded. */
export interface BrokenRecipe {
  readonly name: string
  /** `recipes/gpt2/mine.ts cannot be loaded: …` */
  readonly error: string
}

interface Place {
  readonly name: string
  readonly experiment: string
  readonly url: URL
}

async function places(folder = FOLDER): Promise<Place[]> {
  const papers = (await readdir(folder, { withFileTypes: true }))
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort()
  const found = await Promise.all(
    papers.map(async (paper) => {
      const files = (await readdir(new URL(`${paper}/`, folder))).filter((file) => FILE.test(file)).sort()
      return files.map((file) => {
        const experiment = file.replace(FILE, '$1')
        return { name: `${paper}/${experiment}`, experiment, url: new URL(`${paper}/${file}`, folder) }
      })
    }),
  )
  return found.flat()
}

/**
 * Every recipe of this package, paper by paper, and those that are broken: one of them does not keep the others from
 * being shown.
 *
 * @param folder - with a slash at its end
 */
export async function readRecipes(folder = FOLDER): Promise<{ recipes: RecipeFile[]; broken: BrokenRecipe[] }> {
  const read = await Promise.all(
    (await places(folder)).map((place) =>
      open(place).catch(
        (error: Error): BrokenRecipe => ({
          name: place.name,
          error: error.message.replace(fileURLToPath(place.url), `recipes/${place.name}${extname(place.url.pathname)}`),
        }),
      ),
    ),
  )
  return {
    recipes: read.filter((file) => 'recipe' in file),
    broken: read.filter((file) => 'error' in file),
  }
}

/**
 * Every recipe of this package, paper by paper.
 *
 * @throws Error where one of them cannot be loaded
 */
export async function allRecipes(): Promise<RecipeFile[]> {
  const { recipes, broken } = await readRecipes()
  if (broken.length > 0) throw new Error(broken[0].error)
  return recipes
}

/**
 * @param name - `PAPER/EXPERIMENT`, `EXPERIMENT` where only one paper has it, or a file
 * @throws Error that lists what there is, where there is no such recipe
 */
export async function findRecipe(name: string): Promise<RecipeFile> {
  const known = await places()
  const matching = known.filter((place) => place.name === name || place.experiment === name)
  if (matching.length > 1) {
    throw new Error(`several papers have a recipe '${name}': say ${matching.map((place) => place.name).join(' or ')}`)
  }
  if (matching.length === 1) return open(matching[0])
  if (!existsSync(name) || !FILE.test(basename(name))) {
    throw new Error(
      `there is no recipe '${name}'; there are ${known.map((place) => place.name).join(', ')}, or name a file`,
    )
  }
  const experiment = basename(name).replace(FILE, '$1')
  const file = await open({ name: experiment, experiment, url: pathToFileURL(resolve(name)) })
  return { ...file, name: `${file.recipe.paper}/${experiment}` }
}

async function open({ url, ...place }: Place): Promise<RecipeFile> {
  const { default: recipe } = (await import(url.href).catch((error: Error) => {
    throw new Error(`${fileURLToPath(url)} cannot be loaded: ${error.message}`, { cause: error })
  })) as { default?: Recipe }
  if (!recipe?.run || !recipe.paper) {
    throw new Error(`${fileURLToPath(url)} has no recipe as its default export: export default recipe({ … })`)
  }
  return { ...place, recipe }
}
