import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { plainMessage } from '../../src/runtime/checks.ts'
import { API_INDEX, libraryPath, ortApi } from '../../src/runtime/ort-api.ts'
import { defaultThreads } from '../../src/runtime/threads.ts'
import { lacksShared, sharedPath } from '../shared.ts'

const ORDER = 'prototypes/ort-api-order.json'

describe('the table of the C API', () => {
  it.skipIf(lacksShared(ORDER))('has each function where it is called', () => {
    const order: string[] = JSON.parse(readFileSync(sharedPath(ORDER), 'utf8'))
    for (const [name, index] of Object.entries(API_INDEX)) expect(order[index]).toBe(name)
  })

  it('is loaded once', () => {
    expect(ortApi()).toBe(ortApi())
  })
})

describe('libraryPath', () => {
  afterEach(() => {
    delete process.env.JACKDAW_ORT_LIBRARY
  })

  it.each([
    ['linux', 'x64'],
    ['linux', 'arm64'],
    ['darwin', 'arm64'],
    ['win32', 'x64'],
    ['win32', 'arm64'],
  ])('finds the library that onnxruntime-node ships for %s %s', (platform, arch) => {
    expect(libraryPath(platform, arch)).toContain(`${platform}`)
  })

  it('says what to do where there is none', () => {
    expect(() => libraryPath('darwin', 'x64')).toThrow(
      'onnxruntime-node ships no library for darwin x64: set JACKDAW_ORT_LIBRARY to an ONNX Runtime 1.23 or later',
    )
    process.env.JACKDAW_ORT_LIBRARY = '/nowhere/libonnxruntime.so'
    expect(() => libraryPath()).toThrow('JACKDAW_ORT_LIBRARY names /nowhere/libonnxruntime.so, which does not exist')
  })
})

describe('plainMessage', () => {
  it.each([
    [
      "Non-zero status code returned while running Add node. Name:'sum' Status Message: /src/core/providers/cpu/math/" +
        'element_wise_ops.h:560 void BroadcastIterator::Append(ptrdiff_t, ptrdiff_t) axis == 1 || axis == largest was ' +
        'false. Attempting to broadcast an axis by a dimension other than 1. 2 by 3\n',
      "Add node 'sum': Attempting to broadcast an axis by a dimension other than 1. 2 by 3",
    ],
    [
      "Non-zero status code returned while running Gather node. Name:'' Status Message: C:\\a\\gather.cc:94 " +
        'onnxruntime::GatherCopyData(int64_t, bool) const indices element out of data bounds, idx=9',
      "Gather node '': indices element out of data bounds, idx=9",
    ],
    ['Failed to load model because protobuf parsing failed.', 'Failed to load model because protobuf parsing failed.'],
    [' two\nlines ', 'two lines'],
    ['', 'ONNX Runtime failed without a message'],
  ])('%#: leaves one sentence without source paths', (message, plain) => {
    expect(plainMessage(message)).toBe(plain)
  })
})

describe('defaultThreads', () => {
  afterEach(() => {
    delete process.env.JACKDAW_THREADS
  })

  it('is JACKDAW_THREADS where that is a positive integer, and at least one without it', () => {
    expect(defaultThreads()).toBeGreaterThan(0)
    process.env.JACKDAW_THREADS = '3'
    expect(defaultThreads()).toBe(3)
    for (const wrong of ['0', '-1', '1.5', 'many']) {
      process.env.JACKDAW_THREADS = wrong
      expect(() => defaultThreads()).toThrow(`JACKDAW_THREADS must be a positive integer, got '${wrong}'`)
    }
  })
})
