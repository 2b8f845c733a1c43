/**
 * Mounts an in-memory brick; run as a process of its own in a private mount namespace:
 *
 *     node fuse-server.js DIR [--sink] [--OPTION=VALUE ...]
 *
 * Prints `ready` once requests are answered, then obeys lines on its standard input, one answer
 * line each (see `commands`), and unmounts at its end or at SIGTERM. `--sink` serves one bottomless
 * file `sink` that costs nothing, for measuring the bridge alone.
 */
import { createInterface } from 'node:readline'
import { pino } from 'pino'
import { CallPool } from '../../src/core/frame.ts'
import { InodeTable } from '../../src/core/inode.ts'
import { resolveOptions } from '../../src/core/options.ts'
import type { GraphContext, XlatorDefinition } from '../../src/core/xlator.ts'
import { buildGraph, type Graph } from '../../src/graph/build.ts'
import { parseVolfile } from '../../src/graph/volfile.ts'
import { setRootLog } from '../../src/observe/log.ts'
import { FuseBridge, options } from '../../xlators/mount/fuse/index.ts'
import { type MemoryBrick, memoryBrick } from './memory-brick.ts'
import { testProcess } from './scripted.ts'
import { sinkBrick } from './sink-brick.ts'

const [directory, ...words] = process.argv.slice(2)
setRootLog(pino({ level: process.env.FUSE_LOG ?? 'error' }, process.stderr))

const given = new Map<string, string>([['mountpoint', directory!]])
let sink = false
for (const word of words) {
  const [, name, value] = /^--([^=]+)(?:=(.*))?$/.exec(word)!
  if (name === 'sink') sink = true
  else given.set(name!, value ?? 'on')
}

const pool = new CallPool()
const inodes = new InodeTable()

function graphOf(id: number): Promise<Graph> {
  const definition: XlatorDefinition = sink ? sinkBrick : memoryBrick
  return buildGraph({
    volfile: parseVolfile(
      'volume brick\ntype protocol/client\noption remote memory\nend-volume\n',
      'test',
    ),
    load: async () => definition,
    id,
    volfileId: 'memory',
    pool,
    inodes,
    process: testProcess,
  })
}

const context: GraphContext = {
  id: -1,
  volfileId: 'memory',
  pool,
  inodes,
  process: testProcess,
  xlators: [],
}
const bridge = new FuseBridge({
  name: 'fuse',
  type: 'mount/fuse',
  options: resolveOptions(options, given).values,
  givenOptions: given,
  graph: context,
})

let graph = await graphOf(0)
const brick = (): MemoryBrick => graph.top as unknown as MemoryBrick

/** What the test may ask for; the answer is printed. */
const commands: Record<string, (argument: string) => string | Promise<string>> = {
  /** Fops so far, by name. */
  trace: () =>
    JSON.stringify(
      brick()
        .trace.splice(0)
        .map((line) => line.split(' ')[0]),
    ),
  inodes: () => String(inodes.size),
  open: () => String(bridge.files.count),
  pending: () => String(pool.count),
  /** What another client does: bytes appear in a file, with or without an upcall. */
  append: (argument) => brick().appendElsewhere(argument),
  up: (argument) => {
    brick().up = argument === 'yes'
    return 'ok'
  },
  switch: async () => {
    const old = brick()
    graph = await graphOf(graph.id + 1)
    brick().store = old.store
    const retired = new Promise<void>((resolve) => {
      bridge.onRetired = (gone) => {
        void gone.stop()
        resolve()
      }
    })
    bridge.attach(graph)
    graph.start()
    await retired
    return 'ok'
  },
}

try {
  await bridge.mount()
} catch (error) {
  console.log(`failed: ${(error as Error).message}`)
  process.exit(1)
}
bridge.attach(graph)
if (process.env.FUSE_DELAY_MS !== undefined) {
  setTimeout(() => graph.start(), Number(process.env.FUSE_DELAY_MS))
} else {
  graph.start()
  await bridge.firstLookup
}
console.log('ready')

const stop = (): void => void bridge.unmount()
process.on('SIGTERM', stop)
const lines = createInterface(process.stdin)
lines.on('line', (line) => {
  const [name, ...rest] = line.split(' ')
  void Promise.resolve(commands[name!]!(rest.join(' '))).then((answer) => console.log(answer))
})
lines.on('close', stop)
await bridge.closed
lines.close()
process.off('SIGTERM', stop)
console.log('closed')
process.stdin.destroy()
