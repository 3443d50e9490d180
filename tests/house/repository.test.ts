import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

function tracked(): string[] {
  const listed = execFileSync('git', ['ls-files', '-z'], { cwd: ROOT, encoding: 'utf8' }).split('\0')
  return listed.filter((path) => path !== '' && existsSync(join(ROOT, path)))
}

const inGit = existsSync(join(ROOT, '.git'))

/** Written in pieces: this file is among those looked at. */
const UNWANTED = [
  ...[
    ['registry', 'npmjs', 'org'],
    ['registry', 'yarnpkg', 'com'],
    ['pypi', 'org'],
    ['pythonhosted', 'org'],
    ['crates', 'io'],
    ['deb', 'debian', 'org'],
  ].map((host) => host.join('.')),
  ...['work', 'root', 'home/[a-z]+'].map((folder) => `(?<![\\w.~/-])/${folder}/\\w`),
]

it.skipIf(!inGit)('no file names a package registry’s host or a folder of somebody’s machine', () => {
  const pattern = new RegExp(UNWANTED.join('|'))
  const found = tracked()
    .filter((path) => statSync(join(ROOT, path)).size < 2_000_000)
    .flatMap((path) => {
      const text = readFileSync(join(ROOT, path), 'latin1')
      const [match] = text.includes('\0') ? [] : (pattern.exec(text) ?? [])
      return match ? [`${path}: ${match}`] : []
    })
  expect(found).toEqual([])
})

it('lock files name every build of every package, so that `npm ci` works on all platforms', () => {
  const locks = [
    'package-lock.json',
    'recipes/corpus/package-lock.json',
    'recipes/digits/package-lock.json',
    'bench/peers/package-lock.json',
  ]
  for (const lock of locks.filter((path) => existsSync(join(ROOT, path)))) {
    const { packages } = JSON.parse(readFileSync(join(ROOT, lock), 'utf8')) as {
      packages: Record<string, { optionalDependencies?: Record<string, string> }>
    }
    const lacking = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
      Object.keys(optionalDependencies).filter(
        (name) => !packages[`${path}/node_modules/${name}`] && !packages[`node_modules/${name}`],
      ),
    )
    expect(lacking, lock).toEqual([])
  }
})
