/**
 * `npm run bench:mount`: our client against the stock one, on real GlusterFS servers in a sandbox.
 * On every kind of volume both clients are mounted, warmed up, and take turns, row by row; each
 * round has files of its own, which neither mount has seen before.
 *
 *     --quick              a fifth of the work, two kinds of volume: 3 minutes instead of 15
 *     --volumes A,B        distribute, disperse, replicate, cached (with cache invalidation)
 *     --rows WORD,WORD     rows whose names contain one of the words
 *     --rounds N           3 unless told
 *     --json               one JSON document instead of the table
 *     --only ours          no stock client: no ratios, but half the time, for a profile
 *     --profile DIR        V8 CPU profiles of our client, one per volume, for DevTools
 *
 * Needs root, glusterfs-server, fio and git.
 */
import { mkdirSync, writeSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { type ClientKind, enterSandbox, type Mount, run, Volume } from '../lib/sandbox.ts'
import { type Cost, measured } from './mount/measure.ts'
import { closing, headLine, rowLine, type Summary, summarise } from './mount/report.ts'
import {
  FULL,
  makeSources,
  type Place,
  prepare,
  QUICK,
  type Row,
  rows,
  warmUp,
} from './mount/rows.ts'
import { bricksInMemory, kinds, type VolumeKind } from './mount/volumes.ts'

const TIME_MAX_MS = 60 * 60_000

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    volumes: { type: 'string' },
    rows: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
    only: { type: 'string' },
    profile: { type: 'string' },
  },
})
const scale = values.quick ? QUICK : FULL
const rounds = Number(values.rounds)
const clients: ClientKind[] = values.only === 'ours' ? ['ours'] : ['stock', 'ours']

const say = (text: string): void => {
  if (!values.json) writeSync(1, `${text}\n`)
}

function chosenRows(kind: VolumeKind): Row[] {
  const words = values.rows?.split(',')
  return rows.filter(
    (row) =>
      (row.cached === true) === kind.cached &&
      (words === undefined || words.some((word) => row.name.includes(word))),
  )
}

async function mount(volume: Volume, kind: ClientKind): Promise<Mount> {
  if (kind === 'stock' || values.profile === undefined) return volume.mount(kind)
  const flags = ['--cpu-prof', `--cpu-prof-dir=${values.profile}`]
  return volume.mount(kind, [], { nodeFlags: flags })
}

type Table = Map<Row, Record<ClientKind, Cost[]>>

/** A client's mount, which stays for all rounds, and the directory of its own there. */
interface Bench {
  mount: Mount
  own: string
}

const preparedDir = (root: string, number: number): string => `${root}/prepared-${number}`

/** Every row with both clients in turn, on files this round alone looks at. */
async function round(
  title: string,
  number: number,
  benches: Map<ClientKind, Bench>,
  table: Table,
): Promise<void> {
  const places = new Map<ClientKind, Place>()
  for (const [client, { mount, own }] of benches) {
    const place = {
      mount: mount.dir,
      prepared: preparedDir(mount.dir, number),
      own: `${own}/${number}`,
      scale,
    }
    await run(['mkdir', '-p', place.own])
    places.set(client, place)
  }
  const last = number === rounds - 1
  if (last) say(headLine(title))
  for (const [row, costs] of table) {
    const order = number % 2 === 0 ? clients : [...clients].reverse()
    for (const client of order) {
      const { mount } = benches.get(client)!
      costs[client].push(await measured(mount.pid, () => row.run(places.get(client)!)))
    }
    if (last) say(rowLine(summaryOf(title, row, costs)))
  }
  for (const { own } of places.values()) await run(['rm', '-rf', own])
}

async function benchVolume(kind: VolumeKind, table: Table): Promise<Summary[]> {
  const volume = await Volume.create(`bench-${kind.name}`, kind.options)
  const filler = await volume.mount('stock')
  for (let i = 0; i < rounds; i++) {
    await prepare(await made(preparedDir(filler.dir, i)), scale, kind.cached)
  }
  await filler.unmount()
  const benches = new Map<ClientKind, Bench>()
  for (const client of clients) {
    const mounted = await mount(volume, client)
    const own = await made(`${mounted.dir}/own/${client}`)
    await warmUp(own, scale)
    benches.set(client, { mount: mounted, own })
  }
  for (let i = 0; i < rounds; i++) await round(kind.title, i, benches, table)
  for (const { mount: mounted } of benches.values()) await mounted.unmount()
  await volume.destroy()
  return [...table].map(([row, costs]) => summaryOf(kind.name, row, costs))
}

function summaryOf(volume: string, row: Row, costs: Record<ClientKind, Cost[]>): Summary {
  const stock = clients.includes('stock') ? costs.stock : costs.ours
  return summarise(volume, row, scale, { stock, ours: costs.ours })
}

async function made(dir: string): Promise<string> {
  await run(['mkdir', '-p', dir])
  return dir
}

async function main(): Promise<void> {
  if (values.profile !== undefined) mkdirSync(values.profile, { recursive: true })
  await makeSources()
  if (!(await bricksInMemory())) say('WARNING: no file system in memory, the disk is measured too')
  const summaries: Summary[] = []
  const wanted = values.volumes?.split(',')
  for (const kind of kinds) {
    if (wanted === undefined ? values.quick && !kind.quick : !wanted.includes(kind.name)) continue
    if (kind.missing !== undefined) {
      say(`\n# ${kind.title}: left out, ${kind.missing}`)
      continue
    }
    const table: Table = new Map(chosenRows(kind).map((row) => [row, { stock: [], ours: [] }]))
    if (table.size > 0) summaries.push(...(await benchVolume(kind, table)))
  }
  if (values.json) writeSync(1, `${JSON.stringify(summaries, null, 2)}\n`)
  else if (summaries.length > 0) say(closing(summaries))
}

const missing = await enterSandbox(import.meta.url, TIME_MAX_MS)
if (missing !== false) {
  console.error(`bench: ${missing}`)
  process.exit(1)
}
await main()
