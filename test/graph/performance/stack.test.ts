/** All performance translators together, as glusterd stacks them, with random options. */
import test from 'node:test'
import type { XlatorDefinition } from '../../../src/core/xlator.ts'
import ioCache from '../../../xlators/performance/io-cache/index.ts'
import ioThreads from '../../../xlators/performance/io-threads/index.ts'
import mdCache from '../../../xlators/performance/md-cache/index.ts'
import nlCache from '../../../xlators/performance/nl-cache/index.ts'
import openBehind from '../../../xlators/performance/open-behind/index.ts'
import quickRead from '../../../xlators/performance/quick-read/index.ts'
import readAhead from '../../../xlators/performance/read-ahead/index.ts'
import readdirAhead from '../../../xlators/performance/readdir-ahead/index.ts'
import writeBehind from '../../../xlators/performance/write-behind/index.ts'
import { ModelRun } from '../../lib/model-run.ts'
import { benchStack } from '../../lib/scripted.ts'
import { seeded } from '../../lib/seeded.ts'
import simBrick from '../../lib/sim-brick.ts'

/** Lowest first, with the values their options are drawn from. */
const layers: readonly [XlatorDefinition, Record<string, readonly string[]>][] = [
  [
    writeBehind,
    {
      'flush-behind': ['on', 'off'],
      'window-size': ['512KB', '1MB', '8MB'],
      'aggregate-size': ['4KB', '128KB', '1MB'],
      'trickling-writes': ['on', 'off'],
      'strict-write-ordering': ['off', 'on'],
      'resync-failed-syncs-after-fsync': ['off', 'on'],
    },
  ],
  [readAhead, { 'page-count': ['1', '4', '16'], 'page-size': ['4096', '131072'] }],
  [readdirAhead, { 'rda-request-size': ['4096', '131072'], 'rda-cache-limit': ['1000', '10MB'] }],
  [ioCache, { 'cache-timeout': ['0', '1', '60'], 'max-file-size': ['0', '64KB'] }],
  [
    openBehind,
    {
      'lazy-open': ['yes', 'no'],
      'use-anonymous-fd': ['no', 'yes'],
      'read-after-open': ['yes', 'no'],
    },
  ],
  [quickRead, { 'max-file-size': ['0', '64KB', '1000KB'], 'cache-timeout': ['1', '60'] }],
  [nlCache, { 'nl-cache-positive-entry': ['off', 'on'], 'nl-cache-limit': ['500', '1MB'] }],
  [mdCache, { 'md-cache-timeout': ['0', '1', '60'], 'cache-invalidation': ['off', 'on'] }],
  [ioThreads, { 'thread-count': ['1', '16'], 'low-prio-threads': ['1', '16'] }],
]

/** `npm test` runs few; raise it to search. */
const RUNS = Number(process.env.STACK_RUNS ?? 24)
const FIRST = Number(process.env.STACK_SEED ?? 1)

test(`${RUNS} random stacks cannot be told from the brick below them`, async () => {
  for (let seed = FIRST; seed < FIRST + RUNS; seed++) {
    const random = seeded(seed * 7919)
    const chosen: [XlatorDefinition, Record<string, string>][] = []
    for (const [definition, values] of layers) {
      if (random() < 0.15) continue
      const given: Record<string, string> = {}
      for (const [key, words] of Object.entries(values)) {
        if (random() < 0.5) given[key] = words[Math.floor(random() * words.length)]!
      }
      chosen.push([definition, given])
    }
    if (chosen.length === 0) continue
    const b = await benchStack(chosen, simBrick)
    await new ModelRun(b, seed).run(150).catch((error: Error) => {
      const stack = chosen.map(([{ type }, given]) => `${type} ${JSON.stringify(given)}`)
      error.message = `seed ${seed}: ${error.message}\n${stack.join('\n')}`
      throw error
    })
  }
})
