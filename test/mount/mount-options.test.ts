/** Mounting as administrators do: mount(8), fstab, systemd units; what every option changes. */
import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { before, describe, test } from 'node:test'
import {
  enterSandbox,
  gluster,
  projectRoot,
  type RunResult,
  run,
  sh,
  sleep,
  space,
  Volume,
} from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

/** `/usr/sbin` as it is where this client is installed. */
async function install(): Promise<void> {
  const [upper, work] = [space('sbin'), space('sbin-work')]
  mkdirSync(upper)
  mkdirSync(work)
  for (const name of ['glusterfs', 'mount.glusterfs']) {
    symlinkSync(join(projectRoot, 'bin', name), join(upper, name))
  }
  await sh(`mount -t overlay -o lowerdir=/usr/sbin,upperdir=${upper},workdir=${work} x /usr/sbin`)
}

const mountCommand = (...words: string[]): Promise<RunResult> =>
  run(['mount', ...words], { mayFail: true, timeoutMs: 120_000 })

let directories = 0
function directory(): string {
  const path = space(`mnt/options-${directories++}`)
  mkdirSync(path, { recursive: true })
  return path
}

/** The blocks of the README that are units, by their first line. */
function readmeBlock(firstLine: RegExp): string {
  const text = readFileSync(join(projectRoot, 'README.md'), 'utf8')
  const blocks = text
    .split(/\n\n(?=\S)/)
    .flatMap((part) => part.match(/(?:^ {4}.*\n?|^\n)+/gm) ?? [])
  const found = blocks.map((block) => block.replace(/^ {4}/gm, '')).find((b) => firstLine.test(b))
  assert.ok(found !== undefined, `the README has a block with ${firstLine}`)
  return `${found.trimEnd()}\n`
}

describe('mount -t glusterfs', { skip, timeout: 240_000 }, () => {
  let volume: Volume

  before(async () => {
    volume = await Volume.create('opts', { bricks: 1 })
    await install()
  })

  async function mounted(options: string, device = 'node01:/opts'): Promise<string> {
    const path = directory()
    const words = options === '' ? [] : ['-o', options]
    const result = await mountCommand('-t', 'glusterfs', device, path, ...words)
    assert.equal(result.stderr, '')
    assert.equal(result.status, 0)
    return path
  }

  async function pidOf(path: string): Promise<number> {
    const { stdout } = await run(['pgrep', '-f', `^glusterfs .*${path}$`])
    return Number(stdout.trim())
  }

  const unmount = (...paths: string[]): Promise<RunResult> => run(['umount', ...paths])

  test('says why it does not mount', async () => {
    await gluster('volume', 'create', 'stopped', `node01:${space('bricks/stopped')}`, 'force')
    const dead = await Volume.create('dead', { bricks: 1 })
    await dead.killBricks()
    const file = join(directory(), 'a-file')
    writeFileSync(file, '')
    const there = await mounted('')
    const cases: [string[], number, RegExp][] = [
      [
        ['node01:/opts', directory(), '-o', 'server-port=1'],
        1,
        /connection refused\nMounting .* failed/,
      ],
      [['no-such-host.invalid:/opts', directory()], 1, /no-such-host\.invalid.*\nMounting/],
      [['node01:/nothing', directory()], 1, /volume '\/nothing'.*does not know it\nMounting/],
      [
        ['node01:/stopped', directory()],
        1,
        /no brick of volume 'stopped' .*is it started.*\nMounting/,
      ],
      [['node01:/dead', directory()], 1, /no brick of volume 'dead' answers/],
      [['node01:/opts/none', directory()], 1, /\/none.*\nMounting glusterfs on .* failed/],
      [['node01:/opts', directory(), '-o', 'transport=rdma'], 1, /rdma/],
      [['node01:/opts', file], 1, /ERROR: Mount point does not exist/],
      [['node01:/opts', there], 32, /GlusterFS is already mounted on/],
      [['node01:/opts', volume.bricks[0]!], 2, /is in use as a brick of a gluster volume/],
      [['node01:/opts', '/tmp'], 2, /Cannot mount over \/tmp/],
      [['node01:/opts', directory(), '-o', 'sillyname'], 1, /Invalid option sillyname/],
      [['node01:/opts', directory(), '-o', 'silly=1'], 1, /Invalid option: silly/],
      [
        ['node01:/opts', directory(), '-o', 'lru-limit=many'],
        255,
        /--lru-limit: 'many' is not a number/,
      ],
      [
        ['node01:/opts', directory(), '-o', 'thin-client'],
        1,
        /thin-client: gfproxy is not supported/,
      ],
      [
        ['node01:/opts', directory(), '-o', 'dump-fuse=/none/x'],
        1,
        /dump-fuse: cannot open \/none\/x/,
      ],
      [
        ['node01:/opts', directory(), '-o', 'backup-volfile-servers=a:[b'],
        1,
        /Invalid backup-volfile-servers/,
      ],
    ]
    for (const [words, status, message] of cases) {
      const result = await mountCommand('-t', 'glusterfs', ...words)
      assert.match(result.stderr, message, words.join(' '))
      assert.ok(result.status === status || result.status === 1, `${words}: ${result.status}`)
    }
    await unmount(there)
  })

  test('options that only the process or the kernel shows', async () => {
    const path = await mounted(
      'oom-score-adj=100,background-qlen=40,congestion-threshold=20,enable-ino32,noatime,nosuid,' +
        'nodev,noexec,selinux,log-level=WARNING,localtime-logging,event-history=on,worm,' +
        'reader-thread-count=4,process-name=mine,fetch-attempts=3,volfile-check,auto,_netdev,' +
        'x-systemd.automount,x-systemd.idle-timeout=60,comment=x,direct-io-mode=auto,' +
        'use-readdirp=yes,global-threading,halo-max-latency=5,gid-timeout=10,lru-limit=4096,' +
        'invalidate-limit=16,attr-times-granularity=0,kernel-writeback-cache=off,' +
        'fuse-flush-handle-interrupt=on,backup-volfile-servers=node02:[fe80::1],fopen-keep-cache',
    )
    const pid = await pidOf(path)
    assert.equal(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim(), '100')
    const { stdout } = await run(['findmnt', '-no', 'SOURCE,FSTYPE,OPTIONS', path])
    assert.match(stdout, /^node01:\/opts +fuse\.glusterfs +rw,nosuid,nodev,noexec,noatime,/)
    const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0')
    for (const server of ['node01', 'node02', 'fe80::1']) {
      assert.ok(words.includes(`--volfile-server=${server}`), server)
    }
    await sh('mount -t fusectl none /sys/fs/fuse/connections || true')
    const minor = statSync(path).dev & 0xff
    const connection = `/sys/fs/fuse/connections/${minor}`
    assert.equal(readFileSync(`${connection}/max_background`, 'utf8').trim(), '40')
    assert.equal(readFileSync(`${connection}/congestion_threshold`, 'utf8').trim(), '20')
    writeFileSync(join(path, 'file'), '')
    assert.ok(statSync(join(path, 'file')).ino < 2 ** 32)
    await run(['setfattr', '-n', 'security.selinux', '-v', 'x:y:z:s0', join(path, 'file')])
    const log = `/var/log/glusterfs/${path.slice(1).replaceAll('/', '-')}.log`
    assert.ok(!/\] I \[/.test(readFileSync(log, 'latin1')), 'log-level=WARNING')
    await unmount(path)
  })

  test('lines that fstabs have', async () => {
    for (const options of [
      'defaults,_netdev,backup-volfile-servers=node02:node03,log-level=WARNING,direct-io-mode=disable,' +
        'attribute-timeout=600,entry-timeout=600',
      'rw,noatime,nodiratime,transport=tcp,backupvolfile-server=node02,fetch-attempts=5,' +
        'log-file=/var/log/glusterfs/mine.log,use-readdirp=no,negative-timeout=2,acl,nofail',
    ]) {
      const path = directory()
      writeFileSync(space('line'), `node01:opts ${path} glusterfs ${options} 0 0\n`)
      await run(['mount', '-T', space('line'), path])
      writeFileSync(join(path, 'line'), options)
      assert.equal(readFileSync(join(path, 'line'), 'utf8'), options)
      await unmount(path)
    }
    // umount(8) does not wait for the client.
    const log = (): string => readFileSync('/var/log/glusterfs/mine.log', 'latin1')
    for (let i = 0; i < 100 && !log().includes('was unmounted'); i++) await sleep(50)
    assert.match(log(), /was unmounted/)
  })

  test('logrotate: copytruncate and SIGHUP', async () => {
    const path = await mounted('')
    const log = `/var/log/glusterfs/${path.slice(1).replaceAll('/', '-')}.log`
    await sh(`cp '${log}' '${log}.1'; truncate -s 0 '${log}'; killall -HUP glusterfs`)
    for (let i = 0; i < 60 && statSync(log).size === 0; i++) await sleep(50)
    const text = readFileSync(log, 'latin1')
    assert.match(text, /^\[.* I .*log file reopened/, 'no hole, and nothing else')
    assert.ok(readdirSync(path).length > 0)
    await unmount(path)
  })

  test('what the kernel believes, and for how long', async () => {
    const long = await mounted('attribute-timeout=600,entry-timeout=600,negative-timeout=600')
    const fresh = await mounted('attribute-timeout=0,entry-timeout=0')
    const other = await mounted('')
    writeFileSync(join(other, 'aged'), '')
    for (const path of [long, fresh]) {
      assert.equal(statSync(join(path, 'aged')).mode & 0o777, 0o644)
      assert.equal(existsSync(join(path, 'late')), false)
    }
    await run(['chmod', '600', join(other, 'aged')])
    writeFileSync(join(other, 'late'), '')
    await sleep(1500)
    assert.equal(statSync(join(fresh, 'aged')).mode & 0o777, 0o600)
    assert.equal(existsSync(join(fresh, 'late')), true)
    assert.equal(statSync(join(long, 'aged')).mode & 0o777, 0o644)
    assert.equal(existsSync(join(long, 'late')), false)
    await unmount(long, fresh, other)
  })

  test('direct-io-mode: the kernel reads again what it has read; lru-limit: it forgets', async () => {
    const other = await mounted('')
    writeFileSync(join(other, 'megabyte'), Buffer.alloc(2 ** 20, 'x'))
    mkdirSync(join(other, 'many'))
    for (let i = 0; i < 300; i++) writeFileSync(join(other, `many/${i}`), '')
    for (const [options, readsAgain, fewInodes] of [
      ['direct-io-mode=disable', false, false],
      ['direct-io-mode=enable,lru-limit=50', true, true],
    ] as const) {
      const path = await mounted(options)
      /** READs of the kernel since it was asked last, those of the answer among them. */
      const reads = (): number => {
        const profile = readFileSync(join(path, '.meta/root/profile'), 'latin1')
        return Number(/latency\.READ = .*CNT:(\d+)/.exec(profile)?.[1] ?? 0)
      }
      const megabyte = (): number => {
        reads()
        assert.equal(readFileSync(join(path, 'megabyte')).length, 2 ** 20)
        return reads()
      }
      const [first, second] = [megabyte(), megabyte()]
      assert.equal(second >= first, readsAgain, `${options}: ${first} READs, then ${second}`)

      for (const name of readdirSync(join(path, 'many'))) statSync(join(path, 'many', name))
      let known = await idleInodes(path)
      for (let i = 0; i < 20 && known >= 100 && fewInodes; i++) known = await idleInodes(path)
      assert.equal(known < 100, fewInodes, `${options}: ${known} inodes`)
      await unmount(path)
    }
    await unmount(other)
  })

  async function idleInodes(path: string): Promise<number> {
    await sleep(200)
    const pid = await pidOf(path)
    for (const name of readdirSync('/run/gluster')) {
      if (name.startsWith(`glusterdump.${pid}.`)) rmSync(`/run/gluster/${name}`)
    }
    process.kill(pid, 'SIGUSR1')
    const dump = await stateDump(pid)
    return Number(/^xlator\.mount\.fuse\.itable\.lru_size=(\d+)$/m.exec(dump)![1])
  }

  async function stateDump(pid: number): Promise<string> {
    for (let i = 0; i < 60; i++) {
      const name = readdirSync('/run/gluster').find((n) => n.startsWith(`glusterdump.${pid}.dump.`))
      const text = name === undefined ? '' : readFileSync(`/run/gluster/${name}`, 'latin1')
      if (text.includes('DUMP-END-TIME')) return text
      await sleep(50)
    }
    return assert.fail('no state dump within 3 s')
  }

  test('whose groups the bricks are told', async () => {
    // quick-read gets small files with a lookup, for which nobody needs to read them.
    const set = { 'performance.quick-read': 'off', 'performance.open-behind': 'off' }
    await Volume.create('gids', { bricks: 1, set })
    const plain = await mounted('', 'node01:/gids')
    writeFileSync(join(plain, 'grouped'), 'x')
    await sh(`cd '${plain}'; chown 0:4711 grouped; chmod 640 grouped; chmod 755 .`)
    const reads = async (path: string): Promise<boolean> => {
      const words = ['setpriv', '--reuid=1000', '--regid=1000', '--groups=4711']
      const target = join(path, 'grouped')
      return (await run([...words, 'cat', target], { mayFail: true })).status === 0
    }
    assert.equal(await reads(plain), true)
    // The kernel lets the process in, the brick hears of other groups.
    const resolved = await mounted('resolve-gids', 'node01:/gids')
    assert.equal(await reads(resolved), false)
    const none = await mounted('gid-timeout=-1', 'node01:/gids')
    assert.equal(await reads(none), false)
    await unmount(plain, resolved, none)
  })

  test('ro, a sub-directory, the first server dead', async () => {
    const whole = await mounted('')
    mkdirSync(join(whole, 'sub/dir'), { recursive: true })
    writeFileSync(join(whole, 'sub/dir/inner'), '')
    const [below, also] = [
      await mounted('ro', 'node03,node01:/opts/sub/dir'),
      await mounted('subdir-mount=/sub/dir,backupvolfile-server=node01', 'dead.invalid:opts'),
    ]
    assert.deepEqual(readdirSync(below), ['inner'])
    assert.throws(() => writeFileSync(join(below, 'x'), ''), /EROFS/)
    assert.deepEqual(readdirSync(also), ['inner'])
    await unmount(whole, below, also)
  })

  test('an fstab line; umount, umount -l; the servers were away', async () => {
    const path = directory()
    const line = /^server1:\/myvolume .*_netdev,backup.*$/m.exec(
      readmeBlock(/^server1:\/myvolume/m),
    )
    assert.ok(line !== null)
    const fstab = space('fstab')
    const adapted = line[0]
      .replace('server1', 'node01')
      .replace('server2:server3', 'node02:node03')
      .replace('myvolume', 'opts')
      .replace('/mnt', path)
    writeFileSync(fstab, `${adapted}\n`)
    await sh(`mount --bind ${fstab} /etc/fstab`)
    await run(['mount', path])
    assert.ok(readdirSync(path).length > 0)
    await unmount(path)
    await run(['mount', '-a', '-t', 'glusterfs', '-O', '_netdev'])
    // With the fstab line's options, as mount(8) gives them to the helper.
    await run(['mount', '-o', 'remount,ro,noexec', path])
    assert.match(readFileSync('/proc/mounts', 'latin1'), new RegExp(`${path} \\S+ ro,noexec`))
    assert.throws(() => writeFileSync(join(path, 'x'), ''), /EROFS/)
    await run(['mount', '-o', 'remount,rw', path])
    writeFileSync(join(path, 'writable-again'), '')
    const pid = await pidOf(path)
    const reader = await run(['bash', '-c', `cd '${path}' && umount -l '${path}' && ls | wc -l`])
    assert.ok(Number(reader.stdout) > 0, 'who is in a lazily unmounted directory goes on')
    for (let i = 0; i < 100 && existsSync(`/proc/${pid}`); i++) await sleep(50)
    assert.equal(existsSync(`/proc/${pid}`), false)

    await run(['mount', path])
    await sh('kill $(pidof glusterd)')
    await volume.killBricks()
    const listing = await run(['ls', path], { mayFail: true, timeoutMs: 5000 })
    assert.match(listing.stderr, /Transport endpoint is not connected/)
    await unmount(path)
    assert.match((await mountCommand(path)).stderr, /node03:24007: connection refused\nMounting/)
    await sh('glusterd -l /var/log/glusterfs/glusterd.log')
    for (let i = 0; i < 20 && (await mountCommand(path)).status !== 0; i++) await sleep(500)
    assert.ok(readdirSync(path).length > 0)
    await unmount(path)
  })

  test('the systemd units of the README', async (t) => {
    const analyze = '/usr/bin/systemd-analyze'
    if (!existsSync(analyze)) return t.skip('systemd-analyze is not installed')
    const units = space('units')
    mkdirSync(units)
    for (const [name, block] of [
      ['mnt.mount', readmeBlock(/\[Mount\]/)],
      ['mnt.automount', readmeBlock(/\[Automount\]/)],
      ['glusterfs-myvolume.service', readmeBlock(/\[Service\]/)],
    ] as const) {
      const program = join(projectRoot, 'bin/glusterfs')
      const unit = block.replace('/usr/local/sbin/glusterfs', program)
      writeFileSync(join(units, name), unit)
    }
    const files = readdirSync(units).map((name) => join(units, name))
    const { stderr } = await run([analyze, 'verify', '--man=no', ...files], { mayFail: true })
    const about = stderr.split('\n').filter((line) => files.some((f) => line.includes(basename(f))))
    assert.deepEqual(about, [])

    // What systemd would run.
    const value = (unit: string, key: string): string =>
      new RegExp(`^${key}=(.*)$`, 'm').exec(readFileSync(join(units, unit), 'utf8'))![1]!
    const path = directory()
    const what = value('mnt.mount', 'What').replace('server1:/myvolume', 'node01:/opts')
    const options = value('mnt.mount', 'Options').replace(/server2:server3/, 'node02:node03')
    await run(['mount', what, path, '-t', value('mnt.mount', 'Type'), '-o', options])
    await unmount(path)

    const service = readFileSync(join(units, 'glusterfs-myvolume.service'), 'utf8')
    const start = /^ExecStart=((?:.*\\\n)*.*)$/m.exec(service)![1]!.replaceAll('\\\n', ' ')
    const adapted = start
      .replaceAll(/server[12]/g, 'node01')
      .replace('myvolume /mnt', `opts ${path}`)
    await sh(adapted)
    const pidFile = /^PIDFile=(.*)$/m.exec(service)![1]!
    assert.equal(Number(readFileSync(pidFile, 'utf8')), await pidOf(path))
    await sh(/^ExecStop=(.*)$/m.exec(service)![1]!.replace('/mnt', path))
  })
})
