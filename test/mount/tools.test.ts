/** Stock's administrator commands see and steer this client as they do the stock one. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { enterSandbox, gluster, type Mount, ours, sh, sleep, Volume } from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

const DUMPS = '/var/run/gluster'

/** What differs between two runs of one client: numbers, sizes, times. */
const plain = (text: string): string =>
  text
    .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+/g, 'TIME')
    .replace(/[\d.]+[KMGT]B/g, 'SIZE')
    .replace(/\d+/g, 'N')
    .replace(/[ -]{2,}/g, ' ')

describe('gluster volume …', { skip, timeout: 180_000 }, () => {
  let volume: Volume
  /** What the stock client made the commands say. */
  const expected = new Map<string, string>()
  let mount: Mount

  /** The same work on every mount, with two files left open; they close with the process. */
  const work = async (): Promise<void> => {
    await sh(`cd '${mount.dir}'; rm -rf f1 f2 d; mkdir d; dd if=/dev/zero of=f1 bs=64k count=3 2>/dev/null
      echo text >f2; cat f1 >/dev/null; ls -l . d; stat f2`)
  }
  const ask = async (command: string): Promise<string> => {
    const [verb, ...words] = command.split(' ')
    return gluster('volume', verb!, volume.name, ...words)
  }

  const COMMANDS = [
    'status clients',
    'status client-list',
    'status detail',
    'status callpool',
    'status fd',
    'status tasks',
    'heal info',
    'heal info summary',
    'get client.event-threads',
    'get client.strict-locks',
  ]

  before(async () => {
    volume = await Volume.create('vt', { bricks: 3, layout: ['disperse', '3', 'redundancy', '1'] })
    await gluster('volume', 'profile', volume.name, 'start')
    mount = await volume.mount('stock', ['--process-name', 'fuse'])
    await work()
    for (const command of COMMANDS) expected.set(command, await ask(command))
    await mount.unmount()
    mount = await volume.mount(ours, ['--process-name', 'fuse'])
    await work()
  })

  after(() => mount.unmount())

  for (const command of COMMANDS) {
    test(`… ${command}`, async () => {
      assert.equal(plain(await ask(command)), plain(expected.get(command)!))
    })
  }

  test('… status clients: our connections, with their op-version', async () => {
    const text = await ask('status clients')
    const rows = text.split('\n').filter((line) => /^10\.66\.0\.1:\d+ +\d+ +\d+ +\d+ *$/.test(line))
    // glusterd's self-heal daemon is the other client
    assert.ok(rows.length >= volume.bricks.length, text)
    for (const row of rows) assert.match(row, / 100000 *$/)
    assert.match(await ask('status client-list'), /^fuse +1/m)
  })

  test('… status inode: what we know', async () => {
    await sh(`cd '${mount.dir}'; ls -l`)
    const inodes = await ask('status inode')
    // the root, d, f1 and f2: stock's bricks count what this client has looked up
    const sizes = [...inodes.matchAll(/^(?:Active|LRU) Inodes\s*: (\d+)$/gm)].map(([, n]) =>
      Number(n),
    )
    assert.equal(sizes.length, 2 * volume.bricks.length, inodes)
    assert.ok(sizes[0]! + sizes[1]! >= 4, inodes)
  })

  test('… profile info counts what we do', async () => {
    await ask('profile info clear')
    await sh(`cd '${mount.dir}'; mkdir counted; echo x >counted/f; sync counted/f; rmdir d`)
    const text = await ask('profile info')
    for (const fop of ['MKDIR', 'CREATE', 'RMDIR', 'LOOKUP', 'FXATTROP', 'INODELK']) {
      assert.match(text, new RegExp(` [1-9]\\d* +${fop}\n`), fop)
    }
  })

  test('… top lists our files', async () => {
    assert.match(await ask('top write list-cnt 10'), /\d+\t+\/f1/)
    assert.match(await ask('top open list-cnt 10'), /\d+\t+\/f1/)
  })

  test('… set client.*: taken while files are in use', async () => {
    for (const [key, value] of [
      ['client.event-threads', '3'],
      ['client.strict-locks', 'on'],
      ['client.keepalive-time', '25'],
    ] as const) {
      await gluster('volume', 'set', volume.name, key, value)
      assert.match(await ask(`get ${key}`), new RegExp(`^${key} +${value}`, 'm'))
    }
    await sh(`cd '${mount.dir}'; echo again >f2; grep -q again f2`)
    const refused = readFileSync(mount.log, 'latin1').split('\n')
    assert.deepEqual(
      refused.filter((line) => line.includes('refused')),
      [],
    )
  })

  test('… set diagnostics.client-log-level: at once', async () => {
    const level = (): string => readFileSync(`${mount.dir}/.meta/logging/loglevel`, 'latin1')
    for (const [name, number] of [
      ['ERROR', '4\n'],
      ['DEBUG', '8\n'],
      ['INFO', '7\n'],
    ] as const) {
      await gluster('volume', 'set', volume.name, 'diagnostics.client-log-level', name)
      for (let i = 0; level() !== number && i < 200; i++) await sleep(25)
      assert.equal(level(), number)
    }
  })

  test('… statedump client HOST:PID: the process that is meant, and no other', async () => {
    const dumps = (): string[] => readdirSync(DUMPS).filter((name) => /\.dump\.\d+$/.test(name))
    for (const old of dumps()) rmSync(`${DUMPS}/${old}`)
    await ask(`statedump client node01:${mount.pid + 1}`)
    await ask(`statedump client node01:${mount.pid}`)
    for (let i = 0; dumps().length === 0 && i < 120; i++) await sleep(25)
    const found = dumps()
    assert.equal(found.length, 1)
    assert.ok(found[0]!.startsWith(`glusterdump.${mount.pid}.dump.`))
    assert.match(readFileSync(`${DUMPS}/${found[0]}`, 'latin1'), /DUMP-END-TIME: /)
  })

  test('io-stats: the same text and JSON keys as on stock', async () => {
    for (const option of ['latency-measurement', 'count-fop-hits']) {
      await gluster('volume', 'set', volume.name, `diagnostics.${option}`, 'on')
    }
    const stock = await volume.mount('stock')
    const dumped = async (dir: string, pid: number, kind: string): Promise<string> => {
      await sh(`cd '${dir}'; echo x >s; cat s >/dev/null; ls -l >/dev/null
        setfattr -n trusted.io-stats-dump -v ${kind}-text .
        setfattr -n trusted.io-stats-${pid}_json_dump -v ${kind}-json .`)
      return readFileSync(`${DUMPS}/${kind}-text.${volume.name}`, 'latin1')
    }
    try {
      const theirs = await dumped(stock.dir, stock.pid, 'stock')
      const found = await dumped(mount.dir, mount.pid, 'own')
      // headings of the text: everything but rows of fops, sizes and files
      const headings = (text: string): string[] =>
        text.split('\n').filter((line) => /[=-]{3}|^Fop|COUNT|TIMESTAMP|: \d+|open fd/.test(line))
      assert.deepEqual(headings(found).map(plain), headings(theirs).map(plain))
      assert.match(found, /^WRITE +[1-9]\d* +\d+\.\d\d us +\d+\.\d\d us +\d+\.\d\d us$/m)
      const keys = (kind: string): string[] =>
        readFileSync(`${DUMPS}/${kind}-json.${volume.name}`, 'latin1')
          .split('\n')
          .map((line) => /^"(.*)":/.exec(line)?.[1] ?? line)
      assert.deepEqual(keys('own'), keys('stock'))
    } finally {
      await stock.unmount()
    }
  })
})
