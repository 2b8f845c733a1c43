/** mount/fuse's primer over md-cache and a scripted brick: which LOOKUPs a listing answers. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { InodeContext } from '../../../src/core/context.ts'
import type { DirEntry } from '../../../src/core/fop.ts'
import { ROOT_CREDS } from '../../../src/core/frame.ts'
import { type Iatt, S_IFMT } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import type { EntryOut } from '../../../src/fuse/abi.ts'
import type { FuseRequest } from '../../../src/fuse/request.ts'
import type { FuseBridge } from '../../../xlators/mount/fuse/index.ts'
import { Primer } from '../../../xlators/mount/fuse/primer.ts'
import type { Seen } from '../../../xlators/mount/fuse/seen.ts'
import mdCache from '../../../xlators/performance/md-cache/index.ts'
import { type ManualClock, withManualClock } from '../../lib/manual-clock.ts'
import {
  type Bench,
  bench,
  dirStat,
  type ScriptedChild,
  settle,
  stat,
  testGfid,
} from '../../lib/scripted.ts'

const DEFAULTS = {
  'entry-timeout': 1,
  'attribute-timeout': 1,
  'prime-lookups': true,
  'use-readdirp': true,
  'lru-limit': 0,
}

/** A directory of `files` names, `pageSize` of them in one reply. */
class Bed {
  readonly b: Bench
  readonly child: ScriptedChild
  readonly manual: ManualClock
  readonly primer: Primer
  readonly files = new Map<string, Iatt>()
  readonly serving: { graph: unknown; requests: number }
  /** Validities handed out last, ms. */
  readonly left: number[] = []
  pageSize = 50
  readonly #bridge: FuseBridge

  private constructor(b: Bench, manual: ManualClock, options: Partial<typeof DEFAULTS>) {
    this.b = b
    this.child = b.child as ScriptedChild
    this.manual = manual
    this.serving = { graph: { top: b.xl, id: b.graph.id }, requests: 0 }
    const valid = (...given: unknown[]) => {
      this.left.push(given.at(-1) as number)
      return { sec: 0, nsec: 0 }
    }
    this.#bridge = {
      options: { ...DEFAULTS, ...options },
      table: b.graph.inodes,
      graph: b.graph,
      seen: new InodeContext<Seen>(b.graph.top as unknown as Xlator),
      kernelCache: { entry: valid, attributes: valid },
      observe: () => {},
      takeBack: (inode: Inode) => b.graph.inodes.forget(inode, 1),
      leave: (serving: { requests: number }) => serving.requests--,
      log: b.xl.log,
      name: 'fuse',
    } as unknown as FuseBridge
    this.primer = new Primer(this.#bridge)
    this.primer.use({ top: b.xl } as unknown as Parameters<Primer['use']>[0])
    this.child.script = {
      opendir: (_frame, { fd }) => ({ errno: 0, fd }),
      readdirp: (_frame, { off }) => this.#page(Number(off)),
      lookup: (_frame, { loc }) => {
        const found = this.files.get(loc.name!)
        if (found === undefined) return { errno: 2 }
        return { errno: 0, stat: found.clone(), postparent: dirStat() }
      },
    }
  }

  static async run(
    files: number,
    body: (bed: Bed) => Promise<void>,
    options: Partial<typeof DEFAULTS> = {},
  ): Promise<void> {
    await withManualClock(async (manual) => {
      const bed = new Bed(await bench(mdCache), manual, options)
      for (let i = 0; i < files; i++) bed.files.set(`f${i}`, stat({ gfid: testGfid(), size: i }))
      await body(bed)
      bed.primer.dropAll()
      await settle()
      assert.equal(bed.primer.kept, 0)
      assert.equal(bed.serving.requests, 0)
      assert.equal(bed.root.refs, 0)
      assert.equal(bed.root.fds.size, 0)
      // Of what it held only that is left which the kernel was handed.
      for (const inode of bed.table.inodes()) {
        assert.equal(inode.refs, 0)
        assert.ok(inode.nlookup > 0)
      }
    })
  }

  get table() {
    return this.b.graph.inodes
  }

  get root(): Inode {
    return this.table.root
  }

  get pages(): number {
    return this.child.named('readdirp').length
  }

  #page(off: number): { errno: 0; entries: DirEntry[]; eof: boolean } {
    const all = [...this.files]
    const entries = all.slice(off, off + this.pageSize).map(([name, found], i): DirEntry => {
      const now = found.clone()
      const inode = this.table.findOrNew(now.gfid, now.mode & S_IFMT)
      return { name, inoHi: 0, inoLo: 0, off: BigInt(off + i + 1), type: 8, stat: now, inode }
    })
    return { errno: 0, entries, eof: off + this.pageSize >= all.length }
  }

  /** A LOOKUP as the bridge serves it: what was told, and whether the primer answered. */
  async lookup(name: string): Promise<{ primed: boolean; stat: Iatt | undefined }> {
    const frame = this.b.graph.pool.begin(this.b.graph.top, 'LOOKUP', ROOT_CREDS)
    let told: EntryOut | undefined
    const request = {
      serving: this.serving,
      frame,
      pid: 1,
      entry: (out: EntryOut) => {
        told = out
        return true
      },
    } as unknown as FuseRequest
    try {
      if (this.primer.answer(request, this.root, name)) return { primed: true, stat: told!.stat }
      const inode = this.table.child(this.root, name) ?? this.table.newInode()
      const asking = frame.wind(this.b.xl, 'lookup', { loc: Loc.ofName(this.root, name, inode) })
      const rep = await asking
      if (rep.errno !== 0) return { primed: false, stat: undefined }
      const linked = this.table.link(inode, this.root, name, rep.stat)!
      this.table.countLookup(linked)
      linked.lookedUpGraph = this.b.graph.id
      this.primer.lookedUp(request, this.root, name)
      return { primed: false, stat: rep.stat }
    } finally {
      frame.stack.end()
    }
  }

  /** The four LOOKUPs that start a listing, which is then read. */
  async prime(first = 0): Promise<void> {
    for (let i = first; i < first + 4; i++) {
      assert.equal((await this.lookup(`f${i}`)).primed, false)
    }
    await settle()
  }
}

test('the fourth LOOKUP in a row lists the directory; the rest cost nothing', async () => {
  await Bed.run(40, async (bed) => {
    await bed.prime()
    assert.equal(bed.pages, 1)
    bed.manual.pass(300)
    for (let i = 4; i < 40; i++) {
      const { primed, stat: told } = await bed.lookup(`f${i}`)
      assert.ok(primed, `f${i}`)
      assert.equal(told!.size, i)
      assert.equal(bed.table.child(bed.root, `f${i}`)!.lookedUpGraph, -1)
    }
    // What is left of the second.
    assert.deepEqual(new Set(bed.left.map(Math.round)), new Set([700]))
    assert.equal(bed.child.named('lookup').length, 4)
    // Each name once.
    assert.equal((await bed.lookup('f9')).primed, false)
  })
})

test('pauses, repeated names, names that do not exist, and opens between start no listing', async () => {
  await Bed.run(40, async (bed) => {
    for (let i = 0; i < 6; i++) {
      await bed.lookup(`f${i}`)
      bed.manual.pass(150)
    }
    for (let i = 0; i < 6; i++) await bed.lookup('f7')
    for (let i = 0; i < 6; i++) await bed.lookup(`none${i}`)
    for (let i = 10; i < 20; i++) {
      await bed.lookup(`f${i}`)
      bed.primer.opened(bed.table.child(bed.root, `f${i}`)!)
    }
    assert.equal(bed.pages, 0)
  })
})

test('nothing is primed where the kernel may keep nothing, or is not to list', async () => {
  for (const options of [
    { 'entry-timeout': 0 },
    { 'attribute-timeout': 0 },
    { 'use-readdirp': false },
    { 'prime-lookups': false },
  ]) {
    await Bed.run(
      20,
      async (bed) => {
        for (let i = 0; i < 20; i++) assert.equal((await bed.lookup(`f${i}`)).primed, false)
        assert.equal(bed.pages, 0)
      },
      options,
    )
  }
})

test('what is too old is not told, and is let go', async () => {
  await Bed.run(20, async (bed) => {
    await bed.prime()
    bed.manual.pass(950)
    assert.equal((await bed.lookup('f10')).primed, false)
    bed.manual.pass(300)
    assert.equal(bed.primer.kept, 0)
  })
})

test('our own changes are seen: attributes, a write, a name that is gone or another file', async () => {
  await Bed.run(40, async (bed) => {
    const { files, b, table, root } = bed
    const grow = (name: string) => {
      const found = files.get(name)!
      found.size = 999
      return { errno: 0, prestat: found.clone(), poststat: found.clone() } as const
    }
    bed.child.script.setattr = () => grow('f10')
    bed.child.script.truncate = () => grow('f11')
    bed.child.script.unlink = () => ({ errno: 0, preparent: dirStat(), postparent: dirStat() })
    await bed.prime()
    const locOf = (name: string) => Loc.ofName(root, name, table.child(root, name)!)
    await b.ok('setattr', { loc: locOf('f10'), stat: stat(), valid: 1 })
    await b.ok('truncate', { loc: locOf('f11'), offset: 999 })
    assert.equal((await bed.lookup('f10')).stat!.size, 999)
    assert.equal((await bed.lookup('f11')).stat!.size, 999)
    await b.ok('unlink', { loc: locOf('f12'), flags: 0 })
    table.unlinkName(root, 'f12')
    files.delete('f12')
    assert.equal((await bed.lookup('f12')).stat, undefined)
    // Another file has the name, as after a rename.
    const other = stat({ gfid: testGfid(), size: 77 })
    files.set('f13', other)
    const renamed = table.link(table.newInode(), root, 'f13', other)!
    table.countLookup(renamed)
    assert.equal((await bed.lookup('f13')).stat!.size, 77)
  })
})

test('who has a file open asks the bricks; so does who closed it after a write', async () => {
  await Bed.run(40, async (bed) => {
    await bed.prime()
    const inode = bed.table.child(bed.root, 'f10')!
    inode.fds.add({} as never)
    assert.equal((await bed.lookup('f10')).primed, false)
    inode.fds.clear()
    // Close-to-open: it was opened after the listing had been asked for.
    bed.manual.pass(10)
    bed.table.child(bed.root, 'f11')!.openedAt = bed.manual.now()
    assert.equal((await bed.lookup('f11')).primed, false)
  })
})

test('a listing during which we changed names is not believed', async () => {
  await Bed.run(40, async (bed) => {
    bed.child.hold.add('readdirp')
    await bed.prime()
    await bed.primer.whileChanging(async () => {})
    bed.child.take('readdirp').reply({ errno: 0, entries: [], eof: true })
    await settle()
    assert.equal(bed.primer.kept, 0)
    assert.equal((await bed.lookup('f10')).primed, false)
  })
  await Bed.run(40, async (bed) => {
    let done = (): void => {}
    const changing = bed.primer.whileChanging(() => new Promise((resolve) => (done = resolve)))
    await bed.prime()
    assert.equal(bed.pages, 0)
    done()
    await changing
  })
})

test('lost upcalls, a lost connection and another graph end what is primed', async () => {
  await Bed.run(40, async (bed) => {
    await bed.prime()
    bed.b.xl.notify({ type: 'child-down' }, bed.child)
    assert.equal((await bed.lookup('f10')).primed, false)
    bed.primer.dropAll()
    assert.equal((await bed.lookup('f11')).primed, false)
  })
  await Bed.run(40, async (bed) => {
    bed.child.hold.add('readdirp')
    await bed.prime()
    bed.primer.dropAll()
    const page = bed.child.take('readdirp')
    page.reply({ errno: 0, entries: [], eof: true })
    await settle()
    assert.equal(bed.primer.kept, 0)
  })
})

test('a large directory is read on only while names are of use, and then let alone', async () => {
  await Bed.run(1000, async (bed) => {
    await bed.prime()
    for (let i = 4; i < 10; i++) await bed.lookup(`f${i}`)
    assert.equal(bed.pages, 1)
    bed.manual.pass(1300)
    assert.equal(bed.primer.counts.useless, 1)
    await bed.prime(20)
    assert.equal(bed.pages, 1)
    bed.manual.pass(30_000)
    await bed.prime(500)
    assert.equal(bed.pages, 2)
  })
  await Bed.run(1000, async (bed) => {
    await bed.prime()
    for (let i = 4; i < 1000; i++) {
      await bed.lookup(`f${i}`)
      await settle()
    }
    assert.equal(bed.pages, 20)
    assert.equal(bed.primer.counts.answered, 996)
  })
})

test('attributes that are not the true ones, and files known by another name, are not kept', async () => {
  await Bed.run(20, async (bed) => {
    bed.files.get('f10')!.ctime = 0
    // Two names of one file in a page: only one is vouched for.
    bed.files.set('f12', bed.files.get('f11')!)
    await bed.prime()
    assert.equal((await bed.lookup('f10')).primed, false)
    const links = [await bed.lookup('f11'), await bed.lookup('f12')]
    assert.equal(links.filter(({ primed }) => primed).length, 1)
  })
})

test('a listing that fails is not tried again soon', async () => {
  await Bed.run(20, async (bed) => {
    bed.child.script.opendir = () => ({ errno: 13 })
    await bed.prime()
    await bed.prime(4)
    assert.equal(bed.child.named('opendir').length, 1)
  })
})
