/** A translator under test over a child whose every answer the test writes. */
import assert from 'node:assert/strict'
import { E } from '../../src/core/errno.ts'
import type { Event, Upcall } from '../../src/core/event.ts'
import { Fd } from '../../src/core/fd.ts'
import {
  type Fop,
  type FopName,
  fopNames,
  type MaybePromise,
  type Ok,
  type Rep,
  type Req,
} from '../../src/core/fop.ts'
import { CallPool, type Creds, type Frame, ROOT_CREDS } from '../../src/core/frame.ts'
import type { Gfid } from '../../src/core/gfid.ts'
import { Iatt, S_IFDIR, S_IFREG } from '../../src/core/iatt.ts'
import { type Inode, InodeTable } from '../../src/core/inode.ts'
import { Loc } from '../../src/core/loc.ts'
import { defineOptions } from '../../src/core/options.ts'
import { defineXlator, Xlator, type XlatorDefinition } from '../../src/core/xlator.ts'
import { buildGraph, type Graph, typedOptions } from '../../src/graph/build.ts'
import { parseVolfile } from '../../src/graph/volfile.ts'
import type { DumpSink } from '../../src/observe/dump.ts'
import { fops } from './sim-store.ts'

export interface Call<K extends FopName = FopName> {
  fop: K
  req: Req<K>
  creds: Creds
  /** Answers a held call. */
  reply: (rep: Rep<K>) => void
}

type Script = { [K in FopName]?: Fop<K> }

const noOptions = defineOptions({})

/** Records every call; answers by `script`, holds the fops named in `hold`, else ENOSYS. */
export class ScriptedChild extends Xlator<typeof noOptions> {
  readonly calls: Call[] = []
  readonly held: Call[] = []
  readonly hold = new Set<FopName>()
  script: Script = {}

  named<K extends FopName>(fop: K): Call<K>[] {
    return this.calls.filter((call) => call.fop === fop) as unknown as Call<K>[]
  }

  /** The oldest held call of `fop`, taken off the list. */
  take<K extends FopName>(fop: K): Call<K> {
    const at = this.held.findIndex((call) => call.fop === fop)
    assert.ok(at >= 0, `no held ${fop}`)
    return this.held.splice(at, 1)[0] as unknown as Call<K>
  }

  answer<K extends FopName>(frame: Frame, fop: K, req: Req<K>): MaybePromise<Rep<K>> {
    const call = { fop, req, creds: frame.creds, reply: () => {} } as unknown as Call
    this.calls.push(call)
    if (this.hold.has(fop)) {
      this.held.push(call)
      return new Promise((resolve) => {
        call.reply = resolve as Call['reply']
      })
    }
    const script = this.script[fop]
    return script === undefined ? { errno: E.NOSYS } : (script as unknown as Fop<K>)(frame, req)
  }
}

for (const fop of fopNames) {
  Object.defineProperty(ScriptedChild.prototype, fop, {
    value(this: ScriptedChild, frame: Frame, req: Req<typeof fop>) {
      return this.answer(frame, fop, req)
    },
  })
}

export const scripted = defineXlator({
  type: 'test/scripted',
  class: ScriptedChild,
  options: noOptions,
  children: 0,
})

/** Stands above the translator: keeps the events that reach the mount. */
class Top extends Xlator<typeof noOptions> {
  readonly events: Event[] = []
  override notify(event: Event, from: Xlator | undefined): void {
    if (from === undefined) super.notify(event, from)
    else this.events.push(event)
  }
}
const top = defineXlator({ type: 'test/top', class: Top, options: noOptions, children: 1 })

export class Bench {
  readonly graph: Graph
  readonly xl: Xlator
  readonly child: Xlator
  readonly definition: XlatorDefinition
  creds: Creds = ROOT_CREDS

  constructor(graph: Graph, definition: XlatorDefinition) {
    this.graph = graph
    this.definition = definition
    this.child = graph.find('child')!
    this.xl = graph.find('xl')!
  }

  get events(): Event[] {
    return (this.graph.find('top') as Top).events
  }

  /** One fop as the mount would send it; checks that the frames are accounted for. */
  run<K extends FopName>(fop: K, req: Req<K>, creds = this.creds): MaybePromise<Rep<K>> {
    const frame = this.graph.pool.begin(this.graph.top, fop, creds)
    const rep = frame.wind(this.xl, fop, req)
    if (!(rep instanceof Promise)) {
      frame.stack.end()
      return rep
    }
    return rep.finally(() => frame.stack.end())
  }

  async ok<K extends FopName>(fop: K, req: Req<K>, creds = this.creds): Promise<Ok<K>> {
    const rep = await this.run(fop, req, creds)
    assert.equal(rep.errno, 0, `${fop} failed with errno ${rep.errno}`)
    return rep as Ok<K>
  }

  reconfigure(given: Record<string, string>): void {
    const volume = { name: 'xl', type: this.definition.type }
    this.xl.reconfigure(typedOptions(this.definition, volume, new Map(Object.entries(given))))
  }

  dump(): Record<string, string> {
    const pairs: Record<string, string> = {}
    let section = ''
    const sink: DumpSink = {
      section: (name) => {
        section = name
      },
      pair: (key, value) => {
        pairs[`${section}|${key}`] = String(value)
      },
    }
    this.xl.dump?.(sink)
    for (const inode of this.graph.inodes.inodes()) {
      this.xl.dumpInode?.(inode, sink)
      for (const fd of inode.fds) this.xl.dumpFd?.(fd, sink)
    }
    return pairs
  }
}

export const testProcess = {
  uuid: '00000000-0000-4000-8000-000000000000',
  hostname: 'test',
  processName: 'test',
  subdirMount: undefined,
  secureMgmt: false,
  volfileServer: () => 'node01',
}

/** `definition` over `child` (scripted unless given), under a top that keeps events. */
export function bench(
  definition: XlatorDefinition,
  given: Record<string, string> = {},
  child: XlatorDefinition = scripted,
): Promise<Bench> {
  return benchStack([[definition, given]], child)
}

/**
 * Several translators, the lowest first; `xl` is the highest. The lowest has `child` and, next to
 * it, children of the same kind with the names `beside`.
 */
export async function benchStack(
  layers: readonly [XlatorDefinition, Record<string, string>][],
  child: XlatorDefinition,
  beside: readonly string[] = [],
): Promise<Bench> {
  const children = ['child', ...beside]
  const volumes = children.map(
    (name) => `volume ${name}\ntype ${child.type}\noption x y\nend-volume\n`,
  )
  let below = children.join(' ')
  for (const [at, [definition, given]] of layers.entries()) {
    const name = at === layers.length - 1 ? 'xl' : definition.type.replace(/.*\//, '')
    const lines = Object.entries(given).map(([key, value]) => `option ${key} "${value}"\n`)
    volumes.push(
      `volume ${name}\ntype ${definition.type}\n${lines.join('')}subvolumes ${below}\nend-volume\n`,
    )
    below = name
  }
  volumes.push('volume top\ntype test/top\nsubvolumes xl\nend-volume\n')
  const definitions = [...layers.map(([definition]) => definition), child, top]
  const known = new Map(definitions.map((one) => [one.type, one]))
  const graph = await buildGraph({
    volfile: parseVolfile(volumes.join(''), 'test'),
    load: async (type) => known.get(type),
    id: 0,
    volfileId: 'test',
    pool: new CallPool(),
    inodes: new InodeTable(),
    process: testProcess,
  })
  return new Bench(graph, layers.at(-1)![0])
}

let gfidCount = 0

export function testGfid(): Gfid {
  const bytes = Buffer.alloc(16)
  bytes[0] = 0xf0
  bytes.writeUInt32BE(++gfidCount, 12)
  return bytes.latin1Slice() as Gfid
}

export function stat(change: Partial<Iatt> = {}): Iatt {
  return Object.assign(
    new Iatt(),
    { mode: S_IFREG | 0o644, nlink: 1, ctime: 100, mtime: 100 },
    change,
  )
}

/** A file (or directory) linked in the table as the mount links it after a lookup. */
export function linked(
  graph: Graph,
  name: string,
  change: Partial<Iatt> = {},
  parent: Inode = graph.inodes.root,
): Inode {
  const attributes = stat({ gfid: testGfid(), ...change })
  const inode = graph.inodes.link(graph.inodes.newInode(), parent, name, attributes)
  assert.ok(inode !== undefined)
  graph.inodes.countLookup(inode)
  return inode
}

export const dirStat = (change: Partial<Iatt> = {}): Iatt =>
  stat({ mode: S_IFDIR | 0o755, nlink: 2, ...change })

export function openFd(inode: Inode, flags = 2): Fd {
  return new Fd(inode, flags, 1).bind()
}

export const locOf = (inode: Inode): Loc => {
  const dentry = inode.dentries[0]
  return dentry === undefined ? Loc.ofInode(inode) : new Loc(inode, dentry.parent, dentry.name)
}

export type Invalidation = Extract<Upcall, { type: 'cache-invalidation' }>

/** What a brick tells when another client changed `gfid`. */
export function invalidation(
  gfid: Gfid,
  flags: number,
  change: Partial<Invalidation> = {},
): Invalidation {
  const none = { stat: new Iatt(), parentStat: new Iatt(), oldParentStat: new Iatt() }
  const rest = { expireTimeAttr: 600, xdata: undefined, ...none }
  return { type: 'cache-invalidation', gfid, flags, ...rest, ...change }
}

/** Lets every promise that can settle do so. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) {
    await new Promise<void>((resolve) => setImmediate(resolve))
    if (fops.underWay > 0) i = 0
  }
}

/** Whether `rep` still has no answer when everything that can move has moved. */
export async function isPending(rep: unknown): Promise<boolean> {
  if (!(rep instanceof Promise)) return false
  let answered = false
  void rep.then(() => {
    answered = true
  })
  await settle()
  return !answered
}
