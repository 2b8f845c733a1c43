/** The commands on a private glusterd: how starting fails, what a running mount looks like, how it ends. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import {
  asNobody,
  enterSandbox,
  gluster,
  launcher,
  type Mount,
  nobodySkip,
  projectRoot,
  type RunResult,
  run,
  sh,
  sleep,
  space,
  Volume,
} from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)
const helper = join(projectRoot, 'bin/mount.glusterfs')
const server = ['--volfile-server=node01']
let volume: Volume

/** An empty directory to mount on. */
let directories = 0
function directory(): string {
  const path = space(`mnt/cli-${directories++}`)
  mkdirSync(path, { recursive: true })
  return path
}

function glusterfs(...words: string[]): Promise<RunResult> {
  return run([launcher, ...words], { timeoutMs: 60_000, mayFail: true })
}

async function mounted(path: string): Promise<boolean> {
  const { stdout } = await run(['cat', '/proc/self/mounts'])
  return stdout.split('\n').some((line) => line.split(' ')[1] === path)
}

async function eventually(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (await check()) return
    await sleep(25)
  }
  assert.fail(`never: ${what}`)
}

const logText = (mount: Mount): string => readFileSync(mount.log, 'latin1')

describe('glusterfs', { skip }, () => {
  before(async () => {
    volume = await Volume.create('cli', { bricks: 1 })
  })

  describe('says in one line why it does not mount', () => {
    async function fails(words: string[], status: number, message: RegExp): Promise<void> {
      const path = words.at(-1)!
      const result = await glusterfs(...words)
      assert.match(result.stderr, message)
      assert.equal(result.stderr.trimEnd().split('\n').length, 1, result.stderr)
      assert.equal(result.status, status)
      assert.equal(result.stdout, '')
      if (path.startsWith('/')) assert.equal(await mounted(path), false)
    }

    test('server that refuses the connection', () =>
      fails(
        ['--volfile-server=127.0.0.1', '--volfile-server-port=1', '--volfile-id=cli', directory()],
        107,
        /^glusterfs: .*'cli': 127\.0\.0\.1:1: connection refused/,
      ))

    test('server name that does not resolve', () =>
      fails(
        ['--volfile-server=no-such-host.invalid', '--volfile-id=cli', directory()],
        107,
        /^glusterfs: .*no-such-host\.invalid.*(ENOTFOUND|EAI_AGAIN|resolve)/,
      ))

    test('volume the server does not know', () =>
      fails([...server, '--volfile-id=nothing', directory()], 2, /volume 'nothing'.*not know/))

    test('volume that is not started', async () => {
      await gluster('volume', 'create', 'stopped', `node01:${space('bricks/stopped')}`, 'force')
      await fails(
        [...server, '--volfile-id=stopped', directory()],
        107,
        /no brick of volume 'stopped' answers: is it started/,
      )
    })

    test('volume whose only brick is dead', async () => {
      const dead = await Volume.create('dead', { bricks: 1 })
      await dead.killBricks()
      await fails([...server, '--volfile-id=dead', directory()], 107, /no brick of volume 'dead'/)
    })

    test('sub-directory that does not exist', () =>
      fails([...server, '--volfile-id=cli', '--subdir-mount=/none', directory()], 1, /none/))

    test('mount point that does not exist', () =>
      fails([...server, '--volfile-id=cli', space('mnt/none')], 1, /mount point .*none: does not/))

    test('mount point that is a file', async () => {
      const path = space('mnt/file')
      writeFileSync(path, '')
      await fails([...server, '--volfile-id=cli', path], 1, /mount point .*: is not a directory/)
    })

    test('no mount point', () =>
      fails([...server, '--volfile-id=cli'], 255, /no mount point given/))

    test('no volfile id', () => fails([...server, directory()], 255, /--volfile-id .* is missing/))

    test('neither server nor volfile', () =>
      fails([directory()], 255, /neither --volfile-server nor --volfile given/))

    test('volfile that is not there, has an error, asks for the unknown', async () => {
      const path = space('test.vol')
      await fails(['-f', space('none.vol'), directory()], 1, /cannot read the volfile .*ENOENT/)
      writeFileSync(path, 'volume a\ntype x/y\nfoo\n')
      await fails(['-f', path, directory()], 1, /test\.vol:3: syntax error.*near 'foo'/)
      writeFileSync(path, 'volume a\ntype x/y\noption k v\nend-volume\n')
      await fails(['-f', path, directory()], 1, /volume 'a': type 'x\/y' is not supported/)
    })

    test('xlator option without a dot', () =>
      fails(
        [...server, '--volfile-id=cli', '--xlator-option=foo', directory()],
        255,
        /invalid xlator-option 'foo'/,
      ))

    test('log file that cannot be, or would be inside the mount', async () => {
      const path = directory()
      await fails([...server, '--volfile-id=cli', '-l', '/proc/x', path], 255, /log file \/proc\/x/)
      mkdirSync(join(path, 'sub'))
      const inside = join(path, 'sub/x.log')
      await fails([...server, '--volfile-id=cli', '-l', inside, path], 255, /inside the mount/)
    })

    test('TLS to glusterd without certificates', () =>
      fails(
        [...server, '--volfile-id=cli', '--secure-mgmt=on', directory()],
        1,
        /TLS to glusterd: cannot read \/etc\/ssl\/glusterfs\.pem: ENOENT/,
      ))

    test('not root', { skip: nobodySkip() }, async () => {
      const command = [...asNobody, process.execPath, launcher, ...server, '--volfile-id=cli']
      const { stderr, status } = await run([...command, directory()], { mayFail: true })
      assert.match(stderr, /glusterfs: mounting needs root\n$|EACCES|denied/)
      assert.notEqual(status, 0)
    })

    test('no /dev/fuse', async () => {
      const path = directory()
      const script = 'mount -t tmpfs none /dev && mknod /dev/null c 1 3 && exec "$@"'
      const { stderr, status } = await run(
        [
          'unshare',
          '-m',
          'bash',
          '-c',
          script,
          'x',
          process.execPath,
          launcher,
          ...server,
          '--volfile-id=cli',
          path,
        ],
        { mayFail: true },
      )
      assert.match(stderr, /\/dev\/fuse.*ENOENT.*modprobe fuse/)
      assert.equal(status, 1)
    })
  })

  test('the first server that answers is taken; it is the source in the mount table', async () => {
    const path = directory()
    const words = ['-s', 'no-such-host.invalid', '-s', 'node02', '--volfile-id=/cli', path]
    const { status, stderr } = await glusterfs(...words)
    assert.equal(stderr, '')
    assert.equal(status, 0)
    const { stdout } = await run(['findmnt', '-no', 'SOURCE,FSTYPE', path])
    assert.match(stdout, /:\/cli +fuse\.glusterfs/)
    assert.match((await glusterfs(...words)).stderr, /already mounted/)
    await run(['umount', path])
  })

  describe('a running mount', () => {
    let mount: Mount

    test('answers as soon as the command returns', async () => {
      mount = await volume.mount('ours', ['--log-level=DEBUG'])
      assert.ok(statSync(mount.dir).isDirectory())
      writeFileSync(join(mount.dir, 'file'), 'text')
      assert.equal(readFileSync(join(volume.bricks[0]!, 'file'), 'utf8'), 'text')
    })

    test('is found by ps, pidof, pgrep and /proc', async () => {
      const pid = String(mount.pid)
      const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0')
      assert.equal(words[0], 'glusterfs')
      assert.deepEqual(words.slice(1, 3), ['--volfile-server=node01', '--volfile-id=cli'])
      assert.equal(words.at(-2), mount.dir)
      assert.equal(words.at(-1), '', 'one NUL ends the last word')
      assert.equal(readFileSync(`/proc/${pid}/comm`, 'latin1'), 'glusterfs\n')
      for (const command of [
        ['pidof', 'glusterfs'],
        ['pgrep', '-x', 'glusterfs'],
        ['pgrep', '-f', `^glusterfs .*volfile-id=cli .*${mount.dir}$`],
      ]) {
        const { stdout } = await run(command)
        assert.ok(stdout.split(/\s+/).includes(pid), command.join(' '))
      }
      const { stdout } = await run(['ps', '-o', 'args=', '-p', pid])
      assert.match(stdout, /^glusterfs --volfile-server=node01 --volfile-id=cli /)
    })

    test('is a daemon: its own session, working directory /, nothing on the terminal', () => {
      const stat = readFileSync(`/proc/${mount.pid}/stat`, 'latin1')
      const [, , , session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      assert.equal(session, String(mount.pid))
      const fds = readdirSync(`/proc/${mount.pid}/fd`)
      assert.ok(fds.length < 40, `${fds.length} descriptors`)
    })

    test('keeps its pid file locked', async () => {
      const pidFile = `/run/${mount.dir.split('/').at(-1)}.pid`
      assert.equal(readFileSync(pidFile, 'latin1'), `${mount.pid}\n`)
      const { status, stderr } = await glusterfs(
        ...server,
        '--volfile-id=cli',
        '-p',
        pidFile,
        directory(),
      )
      assert.equal(status, 255)
      assert.match(stderr, /pid file .* is locked/)
      assert.equal(readFileSync(pidFile, 'latin1'), `${mount.pid}\n`)
    })

    test('logs in the form of stock, privately, without credentials', async () => {
      const text = logText(mount)
      assert.match(
        text,
        /^\[[\d -]+ [\d:.]+ \+0000\] I \[.*\] 0-glusterfs: Started running version/,
      )
      assert.match(text, /option password \*\*\*/)
      assert.equal(statSync(mount.log).mode & 0o777, 0o600)
      const volfile = await sh(`cat /var/lib/glusterd/vols/cli/trusted-cli.tcp-fuse.vol`)
      const password = /option password (\S+)/.exec(volfile.stdout)![1]!
      assert.ok(!text.includes(password))
    })

    test('SIGHUP opens the log by its name again', async () => {
      renameSync(mount.log, `${mount.log}.1`)
      process.kill(mount.pid, 'SIGHUP')
      await eventually('a new log file', () => existsSync(mount.log) && logText(mount) !== '')
      assert.match(logText(mount), /log file reopened/)
    })

    test('SIGUSR1 writes a state dump and starts no inspector', async () => {
      process.kill(mount.pid, 'SIGUSR1')
      const directory = '/var/run/gluster'
      const name = () =>
        readdirSync(directory).find((file) => file.startsWith(`glusterdump.${mount.pid}.dump.`))
      const read = (): string => {
        const file = name()
        return file === undefined ? '' : readFileSync(join(directory, file), 'latin1')
      }
      await eventually('a whole state dump', () => read().includes('DUMP-END-TIME'))
      const text = read()
      assert.match(text, /^DUMP-START-TIME: .*\n\n\[/)
      assert.match(text, /\nDUMP-END-TIME: [\d -]+ [\d:.]+ \+0000$/)
      assert.match(text, /\[global\.callpool\]\n.*\n?callpool\.cnt=\d+\n/)
      assert.match(text, /\[xlator\.mount\.fuse\.priv\]\n[^[]*mount_point=/)
      assert.match(text, /\[active graph - 1\]/)
      const { stdout } = await run(['ss', '-lntp'])
      assert.ok(!stdout.includes(':9229'), stdout)
    })

    test('a changed option value is taken over at once', async () => {
      await volume.set('network.ping-timeout', '17')
      await eventually('reconfigured', () =>
        /volfile changed: \d+ translators/.test(logText(mount)),
      )
      assert.equal(readFileSync(join(mount.dir, 'file'), 'utf8'), 'text')
    })

    test('a volume that changes its shape gets a new graph; open files stay usable', async () => {
      const fd = openSync(join(mount.dir, 'open'), 'w+')
      writeSync(fd, 'before ')
      await volume.set('performance.read-ahead', 'on')
      await eventually('the old graph ends', () => /graph 0 is stopped/.test(logText(mount)))
      assert.match(logText(mount), /graph 1 takes over/)
      writeSync(fd, 'after')
      closeSync(fd)
      assert.equal(readFileSync(join(mount.dir, 'open'), 'utf8'), 'before after')
      assert.equal(readFileSync(join(mount.dir, 'file'), 'utf8'), 'text')
    })

    test('SIGTERM unmounts; nothing of it stays', async () => {
      process.kill(mount.pid, 'SIGTERM')
      await eventually('the end', () => !mount.alive())
      assert.equal(await mounted(mount.dir), false)
      assert.match(logText(mount), /W .*received signum \(15\), shutting down/)
      await eventually('its watchdog ends', async () => (await watchdogs(mount.dir)) === '')
    })
  })

  async function watchdogs(path: string): Promise<string> {
    return (await run(['pgrep', '-fx', `gluster-unmount .*${path} .*`], { mayFail: true })).stdout
  }

  describe('whatever ends the process, nothing stays mounted', () => {
    test('kill -9', async () => {
      const mount = await volume.mount('ours')
      process.kill(mount.pid, 'SIGKILL')
      await eventually('unmounted', async () => !(await mounted(mount.dir)))
      await eventually('its watchdog ends', async () => (await watchdogs(mount.dir)) === '')
    })

    test('abort', async () => {
      const mount = await volume.mount('ours')
      process.kill(mount.pid, 'SIGABRT')
      await eventually('unmounted', async () => !(await mounted(mount.dir)))
    })

    test('umount by somebody else ends the process', async () => {
      const mount = await volume.mount('ours')
      await mount.unmount()
      assert.match(logText(mount), /was unmounted, shutting down/)
    })

    test('SIGTERM while a file is open: what was written is on the brick', async () => {
      const mount = await volume.mount('ours')
      const fd = openSync(join(mount.dir, 'unclosed'), 'w')
      const data = Buffer.alloc(300_000, 'data ')
      for (let i = 0; i < 10; i++) writeSync(fd, data)
      process.kill(mount.pid, 'SIGTERM')
      await eventually('unmounted', async () => !(await mounted(mount.dir)))
      for (let i = 0; i < 60 && mount.alive(); i++) await sleep(250)
      assert.equal(mount.alive(), false, 'an open file keeps the process for a bounded time only')
      const found = readFileSync(join(volume.bricks[0]!, 'unclosed'))
      assert.equal(found.length, 10 * data.length)
      assert.ok(found.subarray(-data.length).equals(data))
      assert.throws(() => closeSync(fd), /ENOTCONN|ECONNABORTED/)
    })

    test('kill -9 while a file is open: the file fails, the name is free', async () => {
      const mount = await volume.mount('ours')
      const child = spawn('sleep', ['30'], { cwd: mount.dir })
      process.kill(mount.pid, 'SIGKILL')
      await eventually('unmounted', async () => !(await mounted(mount.dir)))
      child.kill('SIGKILL')
    })
  })

  describe('in the foreground', () => {
    function foreground(path: string, ...words: string[]): ChildProcess {
      const child = spawn(launcher, ['-N', ...server, '--volfile-id=cli', ...words, path], {
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      return child
    }

    function ended(child: ChildProcess): Promise<number | null> {
      return new Promise((resolve) => child.on('exit', (code) => resolve(code)))
    }

    for (const [signal, status] of [
      ['SIGTERM', 15],
      ['SIGINT', 2],
    ] as const) {
      test(`${signal} gives status ${status}`, async () => {
        const path = directory()
        const child = foreground(path)
        const end = ended(child)
        await eventually('mounted', () => mounted(path))
        await eventually('answers', () => existsSync(path))
        assert.equal(readFileSync(`/proc/${child.pid}/comm`, 'latin1'), 'glusterfs\n')
        child.kill(signal)
        assert.equal(await end, status)
        assert.equal(await mounted(path), false)
      })
    }

    test('umount gives status 15', async () => {
      const path = directory()
      const end = ended(foreground(path))
      await eventually('mounted', () => mounted(path))
      await run(['umount', path])
      assert.equal(await end, 15)
    })

    test('--debug logs to standard error', async () => {
      const path = directory()
      const child = foreground(path, '--debug', '--log-format=json')
      const end = ended(child)
      let text = ''
      child.stderr!.on('data', (chunk: Buffer) => {
        text += chunk.toString()
      })
      await eventually('mounted', () => mounted(path))
      child.kill('SIGTERM')
      await end
      const lines = text.trimEnd().split('\n')
      assert.ok(lines.every((line) => 'level' in (JSON.parse(line) as object)))
    })
  })
})

describe('mount.glusterfs', { skip }, () => {
  function mountHelper(...words: string[]): Promise<RunResult> {
    return run([helper, ...words], { timeoutMs: 60_000, mayFail: true })
  }

  test('mounts; a second mount there is refused with 32', async () => {
    const path = directory()
    const { status, stderr } = await mountHelper('node01:/cli', path, '-o', 'rw,log-level=DEBUG')
    assert.equal(stderr, '')
    assert.equal(status, 0)
    assert.ok(existsSync(join(path, 'file')))
    const again = await mountHelper('node01:/cli', path)
    assert.equal(again.status, 32)
    assert.match(again.stderr, /according to mtab, GlusterFS is already mounted on/)
    await run(['umount', path])
  })

  test('ro', async () => {
    const path = directory()
    assert.equal((await mountHelper('node01:/cli', path, '-o', 'ro')).status, 0)
    assert.throws(() => writeFileSync(join(path, 'x'), ''), /EROFS/)
    await run(['umount', path])
  })

  test('a sub-directory', async () => {
    mkdirSync(join(volume.bricks[0]!, 'x'), { recursive: true })
    const whole = await volume.mount('ours')
    mkdirSync(join(whole.dir, 'sub'))
    writeFileSync(join(whole.dir, 'sub/inner'), '')
    const path = directory()
    const { status, stderr } = await mountHelper('node01:/cli/sub', path)
    assert.equal(stderr, '')
    assert.equal(status, 0)
    assert.deepEqual(readdirSync(path), ['inner'])
    await run(['umount', path])
    await whole.unmount()
  })

  const wrong: [string, () => string[], number, RegExp][] = [
    ['no volume', () => ['node01:', directory()], 1, /Server name\/volume name unspecified/],
    ['no directory', () => ['node01:/cli', '/nowhere'], 1, /ERROR: Mount point does not exist/],
    ['the root', () => ['node01:/cli', '/'], 2, /Cannot mount over root/],
    ['/tmp', () => ['node01:/cli', '/tmp'], 2, /Cannot mount over \/tmp/],
    ['a brick', () => ['node01:/cli', volume.bricks[0]!], 2, /is in use as a brick/],
    ['option', () => ['node01:/cli', directory(), '-o', 'foo'], 1, /^Invalid option foo\n$/],
    [
      'volume',
      () => ['node01:/no', directory()],
      1,
      /not know it\nMounting glusterfs on .* failed/,
    ],
  ]
  for (const [what, words, status, message] of wrong) {
    test(`refused: ${what}`, async () => {
      const result = await mountHelper(...words())
      assert.match(result.stderr, message)
      assert.equal(result.status, status)
    })
  }

  test('-V', async () => {
    const { stdout, status } = await mountHelper('-V')
    assert.match(stdout, /^glusterfs 10\.3\n/)
    assert.equal(status, 0)
  })
})
