/** The `.meta` tree of a client: the same paths and contents as stock's. */
import { E, type Errno } from '../../src/core/errno.ts'
import { type CallPool, measure } from '../../src/core/frame.ts'
import type { GraphContext, Xlator } from '../../src/core/xlator.ts'
import { formatVolfile } from '../../src/graph/volfile.ts'
import { framesJson } from '../../src/observe/callpool.ts'
import { dumpLatency } from '../../src/observe/latency.ts'
import { type LogLevelName, logLevel, parseLogLevel, setLogLevel } from '../../src/observe/log.ts'
import { dumpGlobalUsage, dumpMallinfo, dumpUsage } from '../../src/observe/memory.ts'
import type { Observed } from '../../src/observe/observed.ts'
import { dumpPrivate } from '../../src/observe/statedump.ts'
import { TextSink } from '../../src/observe/text-sink.ts'
import { directory, file, link, type MetaDirectory, type MetaNode } from './node.ts'

/** The release this client stands in for. */
const PACKAGE_VERSION = '10.3'

type Entries = [string, () => MetaNode][]

export interface TreeSource {
  readonly observed: Observed
  readonly pool: CallPool
  readonly uuid: string
}

export function metaTree(source: TreeSource): MetaDirectory {
  const { observed } = source
  return directory(() => [
    ['graphs', () => graphs(observed)],
    ['frames', () => file((uid) => framesJson(source.pool, uid === 0))],
    ['logging', () => logging(observed)],
    ['process_uuid', () => file(() => `${source.uuid}\n`)],
    ['version', () => file(() => json({ 'Package Version': PACKAGE_VERSION }))],
    ['cmdline', () => file(() => json({ Cmdlinestr: observed.commandLine }))],
    ['mallinfo', () => file(() => sections(dumpMallinfo, dumpGlobalUsage))],
    ['root', () => (observed.bridge === undefined ? directory(() => []) : xlator(observed.bridge))],
    [
      'measure_latency',
      () => file(() => `${measure.latency || measure.samples ? 1 : 0}\n`, setMeasuring),
    ],
  ])
}

const json = (fields: Record<string, string>): string => {
  const lines = Object.entries(fields).map(([key, value]) => `  "${key}": ${JSON.stringify(value)}`)
  return `{ \n${lines.join(',\n')}\n}`
}

function sections(...dumps: ((sink: TextSink) => void)[]): string {
  const sink = new TextSink('meta')
  for (const dump of dumps) dump(sink)
  return sink.text
}

function graphs(observed: Observed): MetaDirectory {
  return directory(() => {
    const entries: Entries = []
    const active = observed.active()
    const name = active === undefined ? undefined : observed.nameOf(active)
    if (name !== undefined) entries.push(['active', () => link(() => name)])
    for (const [other, context] of observed.graphs()) entries.push([other, () => graph(context)])
    return entries
  })
}

function graph(context: GraphContext): MetaDirectory {
  return directory(() => {
    const entries: Entries = [
      ['top', () => link(() => context.xlators.at(-1)?.name ?? '')],
      ['volfile', () => file((uid) => volfile(context, uid))],
    ]
    for (const xl of context.xlators) entries.push([xl.name, () => xlator(xl)])
    return entries
  })
}

function volfile(context: GraphContext, uid: number): string {
  const volumes = context.xlators.map((xl) => ({
    name: xl.name,
    type: xl.type,
    options: new Map([...xl.shownOptions()].map(([key, value]) => [key, shown(key, value, uid)])),
    subvolumes: xl.children.map((child) => child.name),
    line: 0,
  }))
  return formatVolfile(volumes)
}

const SECRET = new Set(['username', 'password'])

/** What lets a client in on the bricks is root's business; stock shows it to everybody. */
const shown = (key: string, value: string, uid: number): string =>
  SECRET.has(key) && uid !== 0 ? '***' : value

function xlator(xl: Xlator): MetaDirectory {
  return directory(() => [
    ['type', () => file(() => `${xl.type}\n`)],
    ['name', () => file(() => `${xl.name}\n`)],
    ['subvolumes', () => subvolumes(xl)],
    ['options', () => options(xl)],
    ['private', () => file(() => sections((sink) => dumpPrivate(xl, sink)))],
    ['history', () => file(() => '')],
    ['meminfo', () => file(() => sections((sink) => dumpUsage(xl, sink)))],
    ['profile', () => file(() => sections((sink) => dumpLatency(xl, sink)))],
    // Stock's shows nothing either.
    ['view', () => directory(() => [])],
  ])
}

const subvolumes = (xl: Xlator): MetaDirectory =>
  directory(() =>
    xl.children.map((child, i): [string, () => MetaNode] => [
      String(i),
      () => link(() => `../../${child.name}`),
    ]),
  )

/** Keys with a slash would be no names. */
const options = (xl: Xlator): MetaDirectory =>
  directory(() =>
    [...xl.shownOptions()]
      .filter(([key]) => !key.includes('/'))
      .map(([key, value]): [string, () => MetaNode] => [
        key,
        () => file((uid) => `${shown(key, value, uid)}\n`),
      ]),
  )

function logging(observed: Observed): MetaDirectory {
  return directory(() => {
    const entries: Entries = [
      ['loglevel', () => file(() => `${levelNumbers[logLevel()]}\n`, setLevel)],
    ]
    const { logFile } = observed
    if (logFile !== undefined) entries.unshift(['logfile', () => link(() => logFile)])
    return entries
  })
}

/** gf_loglevel_t. */
const levelNumbers: Readonly<Record<LogLevelName, number>> = {
  NONE: 0,
  CRITICAL: 3,
  ERROR: 4,
  WARNING: 5,
  INFO: 7,
  DEBUG: 8,
  TRACE: 9,
}
/** Those of stock's levels that have no lines of their own here: the next one that has. */
const levelsByNumber: readonly LogLevelName[] = [
  'NONE',
  'CRITICAL',
  'CRITICAL',
  'CRITICAL',
  'ERROR',
  'WARNING',
  'WARNING',
  'INFO',
  'DEBUG',
  'TRACE',
]

/** A number 0 to 9 or a name. Stock takes any other text for NONE, which silences the log. */
function setLevel(text: string): 0 | Errno {
  const word = text.trim()
  const level = /^\d$/.test(word) ? levelsByNumber[Number(word)] : parseLogLevel(word)
  if (level === undefined) return E.INVAL
  setLogLevel(level)
  return 0
}

function setMeasuring(text: string): 0 | Errno {
  const word = text.trim()
  if (!/^\d+$/.test(word)) return E.INVAL
  measure.latency = Number(word) !== 0
  measure.samples = measure.latency
  return 0
}
