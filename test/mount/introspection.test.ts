/**
 * `.meta` and the state dump beside those of the stock client: on one volume of each kind, after
 * the same work, with a brick down. What stock has is there, with stock's values where these do
 * not depend on the moment.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type FileHandle, lstat, open, readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { enterSandbox, type Mount, ours, run, sh, sleep, Volume } from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

const DUMPS = '/var/run/gluster'
/** Readers of state dumps poll for so long. */
const DUMP_MS_MAX = 3000

const performance = {
  'performance.nl-cache': 'on',
  'performance.read-ahead': 'on',
  'performance.io-cache': 'on',
  'performance.readdir-ahead': 'on',
}

interface Layout {
  name: string
  bricks: number
  layout?: string[]
  /** Bricks may die without anybody noticing. */
  redundant: boolean
}
const layouts: readonly Layout[] = [
  { name: 'dist', bricks: 2, redundant: false },
  { name: 'disp', bricks: 6, layout: ['disperse', '3', 'redundancy', '1'], redundant: true },
  { name: 'repl', bricks: 6, layout: ['replica', '3'], redundant: true },
]

type Sections = Map<string, Map<string, string>[]>

/** Sections by name, each as often as it came; `separator` is that of the form. */
function parse(text: string, separator: string): Sections {
  const found: Sections = new Map()
  let pairs = new Map<string, string>()
  for (const line of text.split('\n')) {
    const name = /^\[(.*)\]$/.exec(line)?.[1]
    if (name !== undefined) {
      pairs = new Map()
      found.set(name, [...(found.get(name) ?? []), pairs])
      continue
    }
    const at = line.indexOf(separator)
    const key = line.slice(0, at)
    // DHT's dump has subvolumes[i] twice
    if (at > 0 && !pairs.has(key)) pairs.set(key, line.slice(at + separator.length))
  }
  return found
}

const readText = (path: string): Promise<string> => readFile(path, 'latin1')

/** The graph's own name and process numbers differ; nothing else does. */
const plain = (path: string): string => path.replace(/graphs\/node01-[^/]*/, 'graphs/NAME')

/** Every path below `.meta` with its type and mode. */
async function tree(root: string, at = ''): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const name of await readdir(join(root, at))) {
    const path = at === '' ? name : `${at}/${name}`
    const stat = await lstat(join(root, path))
    found.set(plain(path), (stat.mode & 0o777777).toString(8))
    if (!stat.isDirectory()) continue
    for (const [below, mode] of await tree(root, path)) found.set(below, mode)
  }
  return found
}

async function dump(mount: Mount): Promise<{ text: string; ms: number }> {
  const files = (): string[] =>
    readdirSync(DUMPS).filter((name) => name.startsWith(`glusterdump.${mount.pid}.dump.`))
  for (const old of files()) rmSync(join(DUMPS, old))
  process.kill(mount.pid, 'SIGUSR1')
  for (let ms = 0; ms < DUMP_MS_MAX; ms += 20) {
    await sleep(20)
    const [file] = files()
    const text = file === undefined ? '' : readFileSync(join(DUMPS, file), 'latin1')
    if (text.includes('DUMP-END-TIME: ')) return { text, ms }
  }
  return assert.fail(`no state dump of process ${mount.pid} within ${DUMP_MS_MAX} ms`)
}

/** What stock's dumps have and ours cannot: allocator internals, references by translator. */
const NO_COUNTERPART = [
  /^arena\./,
  / - usage-type /,
  /^mempool$/,
  /^global\.callpool\./,
  /^purge\./,
  // what is known of absent names is forgotten when a brick goes
  /nlc_inode$/,
]
const NO_COUNTERPART_KEYS = [
  /^ref_by_xl:/,
  /^timer$/,
  /^cache-time$/,
  /^last-cache-validation-time$/,
]

/** There only while something was read ahead of the reader. */
const READ_AHEAD_PAGE = /^(page|offset|size|dirty|poisoned|ready)$/

/** Keys whose values are the same on every client in the same situation. */
const SAME_VALUES = [
  /^(up|nodes|redundancy|fragment_size|stripe_size|childs_up|childs_up_mask)$/,
  /^(background-heals|heal-wait-qlength|self-heal-window-size|healers|heal-waiters)$/,
  /^(read-policy|parallel-writes|quorum-count|quorum-type|child_count|subvol_cnt)$/,
  /^(child_up|pending_key|subvolumes|subvolume_status|file_layouts)\[\d+\]/,
  /^(data|metadata|entry)_self_heal$/,
  /^(background-self-heal-count|heal-wait-queue-length|use-anonymous-inode|wait_count)$/,
  /^(search_unhashed|min_free_disk|min_free_inodes|disk_unit percentage|use-readdirp)$/,
  /^(connected|ping_timeout|max_file_size|cache_timeout|lazy_open|use_anonymous_fd)$/,
  /^(page_size|page_count|cache_size|aggregate_size|window_size|flush_behind)$/,
  /^(trickling_writes|cache_limit|inode_limit|maximum_threads_count|num_types_)$/,
  /^(entry_timeout|attribute_timeout|init_recvd|strict_volfile_check|use_readdirp)$/,
  /^(invalidate_limit|invalidate_queue_length|direct_io_mode|proto_minor|volfile)$/,
  /^(layout\.cnt|layout\.preset|lru_limit|ia_type)$/,
]

/** Section and key of what stock has and ours lacks, or has with another value. */
function differences(stock: Sections, own: Sections): string[] {
  const found: string[] = []
  for (const [name, [first]] of stock) {
    if (NO_COUNTERPART.some((pattern) => pattern.test(name))) continue
    if (/\.itable\.(active|lru)\.\d+$/.test(name)) continue
    const counterpart = own.get(name)
    if (counterpart === undefined) {
      found.push(`[${name}] is missing`)
      continue
    }
    for (const [key, value] of first!) {
      if (NO_COUNTERPART_KEYS.some((pattern) => pattern.test(key))) continue
      if (name.endsWith('read-ahead.file') && READ_AHEAD_PAGE.test(key)) continue
      // Files open on a brick and latencies depend on caches.
      if (/^fd\.\d+\.remote_fd$|\.latency\./.test(key)) continue
      const values = counterpart.map((pairs) => pairs.get(key))
      if (values.every((one) => one === undefined)) found.push(`[${name}] ${key} is missing`)
      else if (SAME_VALUES.some((pattern) => pattern.test(key)) && !values.includes(value)) {
        found.push(`[${name}] ${key}=${value}, ours ${values.join(', ')}`)
      }
    }
  }
  return found
}

for (const { name, redundant, ...shape } of layouts) {
  describe(`${name}: beside stock`, { skip, timeout: 120_000 }, () => {
    let volume: Volume
    let stock: Mount
    let own: Mount
    const opened: FileHandle[] = []
    const mounts = (): [Mount, Mount] => [stock, own]

    before(async () => {
      volume = await Volume.create(name, { ...shape, set: performance })
      stock = await volume.mount('stock')
      own = await volume.mount(ours)
      for (const { dir, kind } of mounts()) {
        await sh(`mkdir '${dir}/${kind}'; cd '${dir}/${kind}'
          dd if=/dev/zero of=big bs=64k count=8 2>/dev/null; echo content >small
          cat small big | wc -c; ls -l; stat none || true`)
        // A client has sections of open files only while it has files open.
        const file = await open(`${dir}/${kind}/big`, 'r')
        opened.push(file)
      }
    })

    after(async () => {
      await Promise.all(opened.map((file) => file.close()))
      await Promise.all(mounts().map((mount) => mount.unmount()))
      for (const i of volume.bricks.keys()) {
        if (volume.brickPid(i) !== undefined) await volume.killBrick(i)
      }
    })

    test('.meta has every path of stock, with its type and mode', async () => {
      const [theirs, found] = await Promise.all(mounts().map(({ dir }) => tree(`${dir}/.meta`)))
      const odd: string[] = []
      for (const [path, mode] of theirs!) {
        if (found!.get(path) !== mode) odd.push(`${path} ${mode} ${found!.get(path)}`)
      }
      assert.deepEqual(odd, [])
      assert.ok(theirs!.size > 200, `only ${theirs!.size} paths`)
    })

    test('files of .meta that cannot differ are the same', async () => {
      const roots = mounts().map(({ dir }) => `${dir}/.meta`)
      const files = [...(await tree(roots[0]!)).keys()].filter((path) =>
        /\/(name|type|history)$|^version$|\/options\/(remote-|ping|transport|send|strict|pass)/.test(
          path,
        ),
      )
      for (const path of files) {
        const at = path.replace('graphs/NAME', 'graphs/active')
        const [theirs, found] = await Promise.all(roots.map((root) => readText(`${root}/${at}`)))
        if (/transport-type$/.test(path)) continue
        assert.equal(found, theirs, path)
      }
      const links = ['graphs/active/top', `graphs/active/${name}-dht/subvolumes/0`]
      for (const path of links.filter((at) => existsSync(`${roots[0]}/${at}`))) {
        assert.equal(await readlink(`${roots[1]}/${path}`), await readlink(`${roots[0]}/${path}`))
      }
      for (const { dir, pid } of mounts()) {
        const active = await readlink(`${dir}/.meta/graphs/active`)
        assert.match(active, new RegExp(`^node01-${pid}-\\d{4}-\\d\\d-\\d\\d-[\\d:.]{15} \\+0000$`))
      }
    })

    const compare = async (): Promise<void> => {
      const [theirs, found] = await Promise.all(mounts().map((mount) => dump(mount)))
      assert.match(found!.text, /^DUMP-START-TIME: [\d-]{10} [\d:.]{15} \+0000\n\n\[/)
      assert.match(found!.text, /\n\nDUMP-END-TIME: [\d-]{10} [\d:.]{15} \+0000$/)
      assert.deepEqual(differences(parse(theirs!.text, '='), parse(found!.text, '=')), [])
    }

    const comparePrivate = async (): Promise<void> => {
      const [stockRoot, ownRoot] = mounts().map(({ dir }) => `${dir}/.meta/graphs/active`)
      const odd: string[] = []
      for (const xl of await readdir(stockRoot!)) {
        if (xl === 'top' || xl === 'volfile') continue
        const [theirs, found] = await Promise.all([
          readText(`${stockRoot}/${xl}/private`),
          readText(`${ownRoot}/${xl}/private`),
        ])
        odd.push(...differences(parse(theirs, ' = '), parse(found, ' = ')))
      }
      assert.deepEqual(odd, [])
    }

    test('the state dump has every section and key of stock', compare)
    test('so have the private files', comparePrivate)

    test('with a brick down', async () => {
      await volume.killBrick(0)
      const mark = redundant ? /^(childs_up_mask|child_up\[0\]|childs_up) = (110|0|2)$/m : undefined
      for (const { dir } of mounts()) {
        const xl = { disp: 'disp-disperse-0', repl: 'repl-replicate-0', dist: 'dist-client-0' }[
          name
        ]
        const path = `${dir}/.meta/graphs/active/${xl}/private`
        for (let i = 0; !(mark ?? /^connected = 0$/m).test(await readText(path)); i++) {
          assert.ok(i < 200, `${dir} does not notice`)
          await sleep(25)
        }
      }
      await compare()
      await comparePrivate()
      await volume.startBricks()
      await sleep(200)
    })

    test('metrics have every counter of stock that both clients count', async () => {
      const keys = async (mount: Mount): Promise<Set<string>> => {
        rmSync(`${DUMPS}/metrics`, { recursive: true, force: true })
        process.kill(mount.pid, 'SIGUSR2')
        for (let i = 0; i < 100; i++) {
          await sleep(20)
          const text = await sh(`cat ${DUMPS}/metrics/gmetrics.* 2>/dev/null`, { mayFail: true })
          if (!text.stdout.includes('# End of metrics')) continue
          assert.equal((await sh(`stat -c %a ${DUMPS}/metrics/gmetrics.*`)).stdout, '600\n')
          const lines = text.stdout.split('\n')
          assert.match(lines[0]!, /^## .*glusterfs .*--volfile-id=/)
          return new Set(
            lines
              .filter((line) => line !== '' && !line.startsWith('#'))
              .map((line) => line.split(' ')[0]!)
              // which fops came, and how they fared, depends on caches
              .filter((key) => !/\.(total|interval)\.[A-Z]+\./.test(key)),
          )
        }
        return assert.fail(`${mount.kind}: no metrics`)
      }
      const theirs = await keys(stock)
      const found = await keys(own)
      assert.deepEqual(
        [...theirs].filter((key) => !found.has(key)),
        [],
      )
    })

    test('glusterdump.options are honoured', async () => {
      const options = join(DUMPS, `glusterdump.${own.pid}.options`)
      const wanted = ['priv=yes', 'callpool=yes', 'inode=yes\ninodectx=yes', 'all=yes', 'bogus=1']
      for (const text of wanted) {
        const names = await Promise.all(
          mounts().map(async (mount) => {
            writeFileSync(options.replace(String(own.pid), String(mount.pid)), `${text}\n`)
            const found = [...parse((await dump(mount)).text, '=').keys()]
            const kinds = ['mallinfo', 'iobuf.global', 'global.callpool', 'xlator.mount.fuse.priv']
            return [...kinds, 'xlator.mount.fuse.itable'].filter((kind) => found.includes(kind))
          }),
        )
        assert.deepEqual(names[1], names[0], text)
      }
      await run(['rm', '-f', options, options.replace(String(own.pid), String(stock.pid))])
    })
  })
}
