import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DEFAULT_GUEST } from '../../../src/eval/code/driver.ts'
import { guest } from '../../../src/eval/code/guest.ts'
import { type ProgramResult, Sandbox } from '../../../src/eval/code/sandbox.ts'
import { spawnWalled } from '../../../src/eval/code/wall.ts'

/**
 * What a program could try. Each attempt prints ESCAPED where it succeeds; after each one the host is as it was: a file with
 * a secret is unread and unchanged, its folder holds nothing new, nobody has connected, the next program is undisturbed.
 */

const folder = mkdtempSync(join(tmpdir(), 'jackdaw-escapes-'))
const secretFile = join(folder, 'secret.txt')
const SECRET = 'the-hosts-secret-7321'
let connections = 0
let server: Server
let port = 0
let sandbox: Sandbox

beforeAll(async () => {
  writeFileSync(secretFile, SECRET)
  process.env.JACKDAW_TEST_SECRET = SECRET
  server = createServer((socket) => {
    connections++
    socket.destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  port = (server.address() as { port: number }).port
  sandbox = new Sandbox({ workers: 1, timeoutMs: 2000, memoryMb: 96 })
})

afterAll(() => {
  sandbox.close()
  server.close()
  delete process.env.JACKDAW_TEST_SECRET
  rmSync(folder, { recursive: true })
})

const prototypes = JSON.stringify(
  [Object, Array, Function, Promise].map((made) => Reflect.ownKeys(made.prototype).length),
)

afterEach(async () => {
  expect(readFileSync(secretFile, 'utf8')).toBe(SECRET)
  expect(readdirSync(folder)).toEqual(['secret.txt'])
  expect(connections).toBe(0)
  const now = [Object, Array, Function, Promise].map((made) => Reflect.ownKeys(made.prototype).length)
  expect(JSON.stringify(now)).toBe(prototypes)
})

function expectContained({ output, reason = '' }: ProgramResult): void {
  expect(output).not.toContain('ESCAPED')
  expect(output + reason).not.toContain(SECRET)
}

/** Each prints ESCAPED where it gets what it wants. */
const ATTEMPTS: Readonly<Record<string, string>> = {
  'read a file of the host': `print('ESCAPED', open(${JSON.stringify(secretFile)}).read())`,
  'read a file through os.open': `import os; print('ESCAPED', os.read(os.open(${JSON.stringify(secretFile)}, os.O_RDONLY), 99))`,
  'read a file through _io': `import _io; print('ESCAPED', _io.FileIO(${JSON.stringify(secretFile)}).read())`,
  'read a file through a path that climbs': `print('ESCAPED', open('../../../../../../../../../..' + ${JSON.stringify(secretFile)}).read())`,
  'read /proc': `print('ESCAPED', open('/proc/self/environ').read())`,
  'read /etc/passwd': `print('ESCAPED', open('/etc/passwd').read())`,
  'read a file as a module': `import sys; sys.path.insert(0, ${JSON.stringify(folder)}); import secret; print('ESCAPED')`,
  'read a file as a data URL': `import urllib.request; print('ESCAPED', urllib.request.urlopen('file://' + ${JSON.stringify(secretFile)}).read())`,
  'write a file': `open(${JSON.stringify(join(folder, 'new.txt'))}, 'w').write('x'); print('ESCAPED')`,
  'overwrite a file': `open(${JSON.stringify(secretFile)}, 'r+').write('x'); print('ESCAPED')`,
  'remove a file': `import os; os.remove(${JSON.stringify(secretFile)}); print('ESCAPED')`,
  'rename a file': `import os; os.rename(${JSON.stringify(secretFile)}, ${JSON.stringify(`${secretFile}2`)}); print('ESCAPED')`,
  'make a folder': `import os; os.mkdir(${JSON.stringify(join(folder, 'new'))}); print('ESCAPED')`,
  'make a link': `import os; os.symlink('/etc/passwd', ${JSON.stringify(join(folder, 'link'))}); print('ESCAPED')`,
  'remove a tree': `import shutil; shutil.rmtree(${JSON.stringify(folder)}); print('ESCAPED')`,
  'make a temporary file': `import tempfile; tempfile.NamedTemporaryFile(); print('ESCAPED')`,
  'list the host’s folders': `import os; print('ESCAPED', os.listdir(${JSON.stringify(folder)}))`,
  'use descriptors that were left open': `
import os
for descriptor in range(3, 64):
    try: os.write(descriptor, b'x'); print('ESCAPED', descriptor)
    except OSError: pass
    try: os.read(descriptor, 1); print('ESCAPED', descriptor)
    except OSError: pass`,
  'read the environment': `import os; print(dict(os.environ)); 'JACKDAW_TEST_SECRET' in os.environ and print('ESCAPED')`,
  'learn about the host': `import os, platform; print('ESCAPED', os.uname().nodename, os.getlogin(), os.getpid() and os.getppid())`,
  'connect to a server': `import socket; socket.create_connection(('127.0.0.1', ${'PORT'}), 1); print('ESCAPED')`,
  'connect through _socket': `import _socket; s = _socket.socket(2, 1); s.connect(('127.0.0.1', PORT)); print('ESCAPED')`,
  'fetch a page': `import urllib.request; urllib.request.urlopen('http://127.0.0.1:PORT/', timeout=1); print('ESCAPED')`,
  'listen for connections': `import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); print('ESCAPED')`,
  'look up a name': `import socket; print('ESCAPED', socket.gethostbyname('localhost'))`,
  'accept on a descriptor': `import socket; s = socket.socket(fileno=0); print(s.accept(), 'ESCAPED')`,
  'run a command': `import os; os.system('touch ${folder}/new') == 0 and print('ESCAPED')`,
  'start a process': `import subprocess; subprocess.run(['touch', ${JSON.stringify(join(folder, 'new'))}]); print('ESCAPED')`,
  'open a pipe to a command': `import os; print('ESCAPED', os.popen('echo hello').read())`,
  'replace itself': `import os; os.execv('/bin/sh', ['sh', '-c', 'echo hello']); print('ESCAPED')`,
  'start a process through posix': `import posix; posix.posix_spawn('/bin/sh', ['sh'], {}); print('ESCAPED')`,
  fork: `import os; os.fork(); print('ESCAPED')`,
  'fork without end': `import os\nwhile True: os.fork()`,
  'start threads without end': `
import threading
for _ in range(100000): threading.Thread(target=lambda: None).start(); print('ESCAPED')`,
  'start processes through multiprocessing': `import multiprocessing; multiprocessing.Process(target=print).start(); print('ESCAPED')`,
  'signal its parent': `import os; os.kill(os.getppid(), 9); print('ESCAPED')`,
  'signal everybody': `import os; os.kill(-1, 9); print('ESCAPED')`,
  'signal itself': `import signal; signal.raise_signal(9); print('ESCAPED')`,
  'call C through ctypes': `import ctypes; ctypes.CDLL(None).system(b'id'); print('ESCAPED')`,
  'load a library': `import _imp, importlib.machinery as m; _imp.create_dynamic(m.ModuleSpec('x', None, origin='/lib/x.so')); print('ESCAPED')`,
  'map memory of the system': `import mmap; mmap.mmap(-1, 1 << 20); print('ESCAPED')`,
  'reach JavaScript by the names of other builds': `
for name in ('js', 'pyodide_js', '_pyodide', 'pyodide', '_pyodide_core', 'pyodide.code', 'micropip', 'browser', 'node'):
    try: __import__(name); print('ESCAPED', name)
    except ImportError: pass`,
  'find an object of JavaScript': `
import gc
for thing in gc.get_objects():
    if 'Js' in type(thing).__name__ or 'javascript' in type(thing).__module__: print('ESCAPED', thing)
print(len(gc.get_objects()))`,
  'find something to open files with in what is loaded': `
for kind in object.__subclasses__():
    if 'FileLoader' in kind.__name__:
        print('ESCAPED', kind('x', ${JSON.stringify(secretFile)}).get_data(${JSON.stringify(secretFile)}))`,
  'undo what the driver did': `
import sys
frame = sys._getframe()
while frame: frame.f_globals['__builtins__'].__dict__ if hasattr(frame.f_globals['__builtins__'], '__dict__') else 0; frame = frame.f_back
print('ESCAPED', open(${JSON.stringify(secretFile)}).read())`,
}

/** What breaks an interpreter, or takes what it can get: stopped at a limit, and the host goes on. */
const EXHAUSTING: Readonly<Record<string, [string, ProgramResult['status'][]]>> = {
  'an endless loop': ['while True: pass', ['timeout']],
  'an endless loop that catches everything': [
    'while True:\n    try:\n        while True: pass\n    except: pass',
    ['timeout'],
  ],
  'an endless sleep': ['import time\nwhile True: time.sleep(0.5)', ['timeout']],
  'a sleep of a year': ['import time; time.sleep(3e7)', ['timeout']],
  'a wait for input': ['import os; os.read(0, 1)', ['crashed']],
  'a wait through select': ['import select; select.select([0], [], [])', ['timeout', 'raised', 'crashed']],
  'a list that grows': ['x = []\nwhile True: x.append(bytearray(1 << 20))', ['memory']],
  'a list that grows and catches it': [
    'x = []\nwhile True:\n    try: x.append(bytearray(1 << 20))\n    except MemoryError: pass',
    ['timeout'],
  ],
  'one allocation of a terabyte': ['bytearray(1 << 40)', ['memory', 'raised']],
  'a number without end': ['x = 10 ** 10 ** 9', ['timeout', 'memory']],
  'a string that doubles': ["x = 'a'\nwhile True: x += x", ['memory', 'timeout', 'raised']],
  'output without end': ["while True: print('x' * 100000)", ['timeout']],
  'messages without end': ["import os\nwhile True: os.write(2, b'\\0\\0\\xff\\xff' + b'x' * 100000)", ['crashed']],
  'tiny messages without end': ["import os\nwhile True: os.write(2, b'\\0')", ['crashed', 'timeout']],
  'recursion without a limit': [
    'import sys; sys.setrecursionlimit(10**9)\ndef f(): return f()\nf()',
    ['memory', 'crashed', 'raised', 'timeout'],
  ],
  'recursion through C': [
    'import sys; sys.setrecursionlimit(10**9)\nclass A:\n    def __repr__(self): return repr([self])\nrepr(A())',
    ['crashed', 'raised', 'memory'],
  ],
  'a nested expression': ["eval('(' * 100000 + ')' * 100000)", ['raised', 'memory', 'crashed']],
  'a nested list, deeply compared': [
    'a = []\nb = []\nfor _ in range(10**6): a, b = [a], [b]\na == b',
    ['raised', 'crashed', 'memory', 'timeout'],
  ],
  'a regular expression that backtracks': ["import re; re.match('(a+)+$', 'a' * 60 + 'b')", ['timeout']],
  'broken bytecode': [
    'f = lambda: 0\nf.__code__ = f.__code__.replace(co_code=bytes([100, 255] * 50), co_consts=())\nf()',
    ['crashed', 'raised', 'timeout', 'memory', 'exited'],
  ],
  'an abort': ['import os; os.abort()', ['crashed', 'exited']],
  'an exit in the middle': ['import os; os._exit(0)', ['exited']],
}

const undisturbed =
  "import builtins, sys, os\nprint(len.__name__, sorted([2, 1]), 'left' in vars(builtins), 'left' in sys.modules)"

describe('an attempt to', () => {
  for (const [what, source] of Object.entries(ATTEMPTS)) {
    it(what, async () => {
      expectContained(await sandbox.run(source.replaceAll('PORT', String(port))))
      expect((await sandbox.run(undisturbed)).output).toBe('len [1, 2] False False\n')
    })
  }
})

describe('a program that goes on or breaks its interpreter is stopped:', () => {
  for (const [what, [source, allowed]] of Object.entries(EXHAUSTING)) {
    it(what, async () => {
      const result = await sandbox.run(source)
      expect(allowed).toContain(result.status)
      expect(result.output.length).toBeLessThanOrEqual(1 << 16)
      expect((await sandbox.run(undisturbed)).output).toBe('len [1, 2] False False\n')
    })
  }
})

describe('a program leaves nothing behind', () => {
  for (const [what, source] of Object.entries({
    builtins: 'import builtins\nbuiltins.left = 1\nbuiltins.len = lambda x: 0\nbuiltins.sorted = lambda x: []',
    modules: "import sys, os\nsys.modules['left'] = sys\nos.left = 1",
    'a hook at the end': "import atexit, sys\natexit.register(print, 'left')\nsys.settrace(lambda *a: None)",
    'its own import': 'import builtins\nbuiltins.__import__ = lambda *a, **k: 1 / 0',
    'a file of its own': "open('left.py', 'w').write('x')",
  })) {
    it(what, async () => {
      await sandbox.run(source)
      expect((await sandbox.run(undisturbed)).output).toBe('len [1, 2] False False\n')
    })
  }

  it('not even in the random numbers, which begin alike for everybody', async () => {
    const source = 'import random, os; print(random.random(), os.urandom(4).hex())'
    const first = await sandbox.run(source)
    expect((await sandbox.run(source)).output).toBe(first.output)
  })
})

const TEST = {
  prompt: 'def add(a, b):\n    """The sum."""\n',
  test: 'def check(candidate):\n    for a in range(3):\n        assert candidate(a, 2) == a + 2\n',
  entryPoint: 'add',
}

/** None of these adds two numbers. */
const FORGERIES: Readonly<Record<string, string>> = {
  'prints that it passed': "def add(a, b): print('passed'); return 0",
  'exits well as it is read': 'import sys\nsys.exit(0)',
  'exits well as it is called': 'import sys\ndef add(a, b): sys.exit(0)',
  'leaves without a word': 'import os\ndef add(a, b): os._exit(0)',
  'ends before it is tested': 'import os\nos._exit(0)',
  'says that the test has passed': `
import os
def add(a, b):
    body = b'fnull'
    os.write(2, len(body).to_bytes(4, 'big') + body)
    os._exit(0)`,
  'says so as it is read': `
import os
os.write(2, (5).to_bytes(4, 'big') + b'fnull')
os.write(2, (5).to_bytes(4, 'big') + b'fnull')
os._exit(0)`,
  'says so in the driver’s words': `
import sys
def add(a, b):
    frame = sys._getframe()
    while 'send' not in frame.f_globals: frame = frame.f_back
    frame.f_globals['send'](b'f')
    return 0`,
  'replaces check':
    'import builtins\nbuiltins.check = lambda candidate: None\ncheck = builtins.check\ndef add(a, b): return 0',
  'replaces AssertionError': 'import builtins\nbuiltins.AssertionError = None\ndef add(a, b): return 0',
  'raises an assertion of its own, and catches what comes': `
import sys
sys.excepthook = lambda *a: None
def add(a, b): raise AssertionError('fine')`,
  'returns what equals everything': `
class Equal(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = int.__hash__
def add(a, b): return Equal(-1)`,
  'returns an object that equals everything': `
class Equal:
    def __eq__(self, other): return True
def add(a, b): return Equal()`,
  'traces its caller': `
import sys
def skip(frame, event, argument):
    frame.f_trace_lines = False
    return skip
sys.settrace(skip)
def add(a, b): return 0`,
  'rewrites the code of who calls it': `
import sys
def add(a, b):
    frame = sys._getframe(1)
    while frame:
        for name, value in list(frame.f_globals.items()):
            if callable(value) and hasattr(value, '__code__'): value.__code__ = (lambda *a, **k: None).__code__
        frame = frame.f_back
    return 0`,
  'answers before it is asked': `
import os
body = b'a{"value": 2}'
for _ in range(9): os.write(2, len(body).to_bytes(4, 'big') + body)
def add(a, b): return 2`,
  'sends code for a value': `
import sys
def add(a, b):
    frame = sys._getframe()
    while 'send' not in frame.f_globals: frame = frame.f_back
    frame.f_globals['send'](b'a', {'value': ['__import__', 'os']})
    return 0`,
  'is not there': 'def subtract(a, b): return a - b',
  'does not compile': 'def add(a, b) return a',
  'is no function': 'add = 5',
  'changes the numbers it is asked about': `
import builtins
builtins.range = lambda n: []
def add(a, b): return 0`,
}

describe('a wrong program does not pass that', () => {
  it('(a right one does)', async () => {
    expect(await sandbox.check('def add(a, b): return a + b', TEST)).toEqual({ passed: true, result: 'passed' })
  })
  for (const [what, source] of Object.entries(FORGERIES)) {
    it(what, async () => {
      const verdict = await sandbox.check(source, TEST)
      expect(verdict).toEqual({ passed: false, result: expect.stringMatching(/^failed: |^timed out$/) })
      expect((await sandbox.check('def add(a, b): return a + b', TEST)).passed).toBe(true)
    })
  }
})

/** What a program could do if it ever got hold of JavaScript: the second wall alone. */
const IN_JAVASCRIPT: Readonly<Record<string, string>> = {
  'reads a file': `require('fs').readFileSync(${JSON.stringify(secretFile)}, 'utf8')`,
  'lists a folder': `require('fs').readdirSync('/')`,
  'writes a file': `require('fs').writeFileSync(${JSON.stringify(join(folder, 'new'))}, 'x')`,
  'starts a process': `require('child_process').spawnSync('/bin/echo', ['x']).error ?? 'started'`,
  'starts a thread': `new (require('worker_threads').Worker)('1', { eval: true })`,
  'makes code of a string': `eval('1 + 1')`,
  'makes code of a string by a constructor': `(function () {}).constructor('return process')()`,
  'loads an addon': `process.dlopen({ exports: {} }, '/lib/x.node')`,
  'opens the inspector': `(require('inspector').open(0), require('inspector').url() ?? (() => { throw new Error() })())`,
  'reads the environment': `Object.keys(process.env).find((name) => !['PWD', 'OLDPWD', 'SHLVL', '_'].includes(name)) ?? new Error()`,
}

describe.skipIf(process.platform === 'win32')('JavaScript behind the second wall', () => {
  for (const [what, code] of Object.entries(IN_JAVASCRIPT)) {
    it(`${what}: refused`, async () => {
      const script = `let said = 'ESCAPED'; try { const got = ${code}; if (got instanceof Error) said = 'refused' } catch { said = 'refused' } require('fs').writeSync(1, said)`
      const child = spawnWalled(script, { memoryMb: 64, processorSeconds: 20 })
      let output = ''
      child.stdout?.on('data', (data: Buffer) => (output += data))
      await new Promise((resolve) => child.on('close', resolve))
      expect(output).toBe('refused')
    })
  }

  it.skipIf(!existsSync('/proc/self/limits'))('has limits that the system keeps', async () => {
    const child = spawnWalled('setInterval(() => {}, 1000)', { memoryMb: 64, processorSeconds: 20 })
    await new Promise((resolve) => setTimeout(resolve, 1000))
    const limits = readFileSync(`/proc/${child.pid}/limits`, 'utf8')
    child.kill('SIGKILL')
    expect(limits).toMatch(/^Max cpu time +20 +20 /m)
    expect(limits).toMatch(/^Max file size +0 +0 /m)
    expect(limits).toMatch(/^Max core file size +0 +0 /m)
    expect(limits).toMatch(/^Max data size +872415232 /m)
  })

  it('ends when its host has gone', async () => {
    const child = spawnWalled(`(${guest})(require, ${JSON.stringify(DEFAULT_GUEST)})`, {
      memoryMb: 64,
      processorSeconds: 20,
    })
    child.stdin?.end()
    expect(await new Promise((resolve) => child.on('exit', resolve))).toBe(0)
  })
})

describe('a sandbox', () => {
  it('that is closed runs nothing, and leaves no process', async () => {
    const closed = new Sandbox({ workers: 1 })
    expect((await closed.run('print(1)')).output).toBe('1\n')
    // Twice, so that one is stopped as it waits for the other, or for an interpreter.
    const running = [closed.run('while True: pass'), closed.run('while True: pass')]
    await new Promise((resolve) => setTimeout(resolve, 200))
    closed.close()
    for (const run of await Promise.allSettled(running)) {
      if (run.status === 'fulfilled') expect(run.value.status).toBe('crashed')
      else expect(run.reason.message).toBe('this sandbox is closed')
    }
    await expect(closed.run('1')).rejects.toThrow('this sandbox is closed')
  })

  it('puts another interpreter in the place of one whose process was ended', async () => {
    const sturdy = new Sandbox({ workers: 1 })
    expect((await sturdy.run('print(1)')).output).toBe('1\n')
    for (const { program } of Reflect.get(sturdy, 'pairs')) process.kill(program.pid, 'SIGKILL')
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect((await sturdy.run('print(2)')).output).toBe('2\n')
    sturdy.close()
  })

  it('refuses limits that are none', () => {
    expect(() => new Sandbox({ workers: 0 })).toThrow('at least one worker')
    expect(() => new Sandbox({ timeoutMs: 0 })).toThrow('needs some time')
    expect(() => new Sandbox({ memoryMb: 8 })).toThrow('16 to 2048')
  })
})
