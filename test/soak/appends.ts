/**
 * `npm run soak -- appends [ROUNDS]`: processes append to files that a rebalance moves: each byte is
 * there once, at its place. `CLIENT=stock` does the same through the stock client, whose files have
 * pieces twice (5 of 720 in two rounds).
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type ClientKind, enterSandbox, gluster, sleep, space, Volume } from '../lib/sandbox.ts'
import { close, O, open, write } from '../lib/syscalls.ts'

const processes = 3
const filesEach = 120
const bricksAdded = 4
const firstSizeMax = 60_000
const appendMax = 5000
const fileSizeMax = 300_000

const random = (below: number): number => {
  const bytes = crypto.getRandomValues(new Uint32Array(1))
  return bytes[0]! % below
}

/** Appends until the file `stop` exists; prints what is wrong with the files then. */
function appendUntil(prefix: string, stop: string): void {
  const model = new Map<string, Buffer>()
  for (let i = 0; i < filesEach; i++) {
    const content = Buffer.alloc(2000 + random(firstSizeMax), `first ${i}|`)
    writeFileSync(`${prefix}-${i}`, content)
    model.set(`${prefix}-${i}`, content)
  }
  console.log('ready')
  let appends = 0
  const problems: string[] = []
  const names = [...model.keys()]
  while (!existsSync(stop) && names.length > 0) {
    const at = random(names.length)
    const name = names[at]!
    const data = Buffer.alloc(1 + random(appendMax), `append ${appends++}|`)
    const fd = open(name, O.O_WRONLY | O.O_APPEND)
    const written = fd < 0 ? fd : write(fd, data)
    const closed = fd < 0 ? fd : close(fd)
    if (written !== data.length || closed !== 0) problems.push(`${name}: ${written}, ${closed}`)
    const content = Buffer.concat([model.get(name)!, data])
    model.set(name, content)
    if (content.length > fileSizeMax) names.splice(at, 1)
  }
  writeFileSync('/proc/sys/vm/drop_caches', '3')
  for (const [name, expected] of model) {
    const found = readFileSync(name)
    if (found.equals(expected)) continue
    const at = expected.findIndex((byte, i) => byte !== found[i])
    problems.push(`${name}: ${found.length} bytes, expected ${expected.length}, differs at ${at}`)
  }
  for (const problem of problems) console.log(`PROBLEM ${problem}`)
  console.log(`appends ${appends}`)
}

function output(child: ChildProcess): { ready: Promise<void>; ended: Promise<string> } {
  let text = ''
  const ready = new Promise<void>((done) => {
    child.stdout!.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      if (text.includes('ready')) done()
    })
  })
  return { ready, ended: new Promise((done) => child.on('close', () => done(text))) }
}

async function rebalance(volume: Volume): Promise<void> {
  await volume.addBrick()
  await gluster('volume', 'rebalance', volume.name, 'start')
  for (let i = 0; i < 600; i++) {
    const status = await gluster('volume', 'rebalance', volume.name, 'status')
    if (status.includes('completed')) return
    await sleep(200)
  }
  throw new Error('the rebalance does not end')
}

async function round(number: number, kind: ClientKind): Promise<boolean> {
  const volume = await Volume.create(`appends-${number}`, { bricks: 2 })
  const mount = await volume.mount(kind)
  mkdirSync(`${mount.dir}/d`)
  const stop = space(`stop-${number}`)
  const me = fileURLToPath(import.meta.url)
  const writers = Array.from({ length: processes }, (_, i) => {
    const words = [me, 'append', `${mount.dir}/d/w${i}`, stop]
    return output(spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] }))
  })
  await Promise.all(writers.map(({ ready }) => ready))
  for (let added = 0; added < bricksAdded; added++) await rebalance(volume)
  writeFileSync(stop, '')
  const text = (await Promise.all(writers.map(({ ended }) => ended))).join('')
  const count = [...text.matchAll(/^appends (\d+)$/gm)].reduce((sum, [, n]) => sum + Number(n), 0)
  const problems = text.match(/^PROBLEM .*$/gm) ?? []
  for (const problem of problems) console.log(problem)
  console.log(`round ${number}: ${count} appends, ${problems.length} problems`)
  await mount.unmount()
  await volume.destroy()
  return problems.length === 0 && count > 0
}

if (process.argv[2] === 'append') {
  appendUntil(process.argv[3]!, process.argv[4]!)
} else {
  const rounds = Number(process.argv[2] ?? 3)
  const missing = await enterSandbox(import.meta.url, rounds * 120_000)
  if (missing !== false) {
    console.error(`appends: ${missing}`)
    process.exit(1)
  }
  const kind = process.env.CLIENT === 'stock' ? 'stock' : 'ours'
  let held = true
  for (let number = 1; number <= rounds; number++) held = (await round(number, kind)) && held
  console.log(held ? 'appends: all held' : 'appends: FAILED')
  process.exit(held ? 0 : 1)
}
