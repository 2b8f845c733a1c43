/** A cluster of two servers, each with its own glusterd and network: what clients do when one stops. */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { before, describe, test } from 'node:test'
import { clock } from '../../src/core/clock.ts'
import { logged } from '../lib/live-changes.ts'
import { enterSandbox, gluster, launcher, Mount, run, sh, sleep, space } from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

const hosts = '127.0.0.1 localhost\n10.66.0.1 node01\n10.77.0.1 alpha\n10.77.0.2 beta\n'

/** beta: other network, mount and host name spaces, linked to this one's by a cable. */
async function startBeta(): Promise<number> {
  const base = space('beta')
  mkdirSync(base, { recursive: true })
  writeFileSync(`${base}/hosts`, hosts)
  const { stdout } = await sh(`
    cd '${base}'; mkdir lib log; mkfifo go
    cp -a /var/lib/glusterd/hooks /var/lib/glusterd/groups lib/ 2>/dev/null || true
    mount --bind hosts /etc/hosts
    ip link add cable type veth peer name cable-b
    ip addr add 10.77.0.1/24 dev cable; ip link set cable up
    setsid unshare --mount --net --uts bash -c '
      read -r _ <go; hostname beta; ip link set lo up
      ip addr add 10.77.0.2/24 dev cable-b; ip link set cable-b up
      mount --bind lib /var/lib/glusterd; mount --bind log /var/log/glusterfs
      mount -t tmpfs -o mode=755 run /run; mkdir -p /run/gluster /run/lock
      exec glusterd -N -l /var/log/glusterfs/glusterd.log' </dev/null >out 2>&1 &
    while [ "$(readlink /proc/$!/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
    ip link set cable-b netns $!; echo >go; echo $!`)
  return Number(stdout)
}

async function until(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const began = clock.now()
  while (!(await check())) {
    assert.ok(clock.now() - began < 30_000, `not within 30 s: ${what}`)
    await sleep(100)
  }
}

describe('two servers', { skip, timeout: 150_000 }, () => {
  let beta: number
  let mounts = 0

  /** The administrator's command on beta. */
  const onBeta = (...words: string[]) =>
    run(['nsenter', '-t', String(beta), '-m', '-n', '-u', 'gluster', '--mode=script', ...words], {
      mayFail: true,
    })

  async function stopAlpha(): Promise<void> {
    // Of this network's glusterd; beta's listens in another.
    const listening = async (): Promise<string> =>
      (await run(['ss', '-Hltnp', 'sport = :24007'])).stdout
    process.kill(Number(/pid=(\d+)/.exec(await listening())![1]), 'SIGTERM')
    await until('alpha stops', async () => (await listening()) === '')
  }

  async function startAlpha(): Promise<void> {
    await run(['glusterd', '-l', '/var/log/glusterfs/glusterd.log'])
    await until('the servers meet again', async () => {
      const { stdout } = await run(['gluster', 'peer', 'status'], { mayFail: true })
      return stdout.includes('(Connected)')
    })
  }

  async function mount(...servers: string[]): Promise<Mount> {
    const id = `two-${mounts++}`
    const dir = space(`mnt/${id}`)
    const [log, pidFile] = [`/var/log/glusterfs/${id}.log`, `/run/${id}.pid`]
    mkdirSync(dir, { recursive: true })
    const words = servers.map((server) => `--volfile-server=${server}`)
    await run([launcher, ...words, '--volfile-id=two', '-l', log, '-p', pidFile, dir])
    return new Mount(dir, 'ours', Number(readFileSync(pidFile, 'latin1')), log)
  }

  /** A new option value reaches the mount, although only beta can tell of it. */
  async function hearsOfChanges(mount: Mount, timeout: string): Promise<void> {
    const before = logged(mount, 'translators reconfigured')
    await until('the option is set', async () => {
      const words = ['volume', 'set', 'two', 'network.ping-timeout', timeout]
      return (await onBeta(...words)).status === 0
    })
    await until('the mount hears of it', () => logged(mount, 'translators reconfigured') > before)
    const options = `${mount.dir}/.meta/graphs/active/two-client-1/options/ping-timeout`
    assert.equal(readFileSync(options, 'latin1'), `${timeout}\n`)
  }

  before(async () => {
    beta = await startBeta()
    await until('beta is a peer', async () => {
      return (await run(['gluster', 'peer', 'probe', 'beta'], { mayFail: true })).status === 0
    })
    mkdirSync(space('bricks'), { recursive: true })
    const bricks = ['alpha', 'beta'].map((host) => `${host}:${space(`bricks/${host}`)}`)
    await until('the volume is made', async () => {
      const words = ['gluster', '--mode=script', 'volume', 'create', 'two', ...bricks, 'force']
      return (await run(words, { mayFail: true })).status === 0
    })
    await gluster('volume', 'start', 'two')
  })

  test('the first server of the list is away when mounting', async () => {
    await stopAlpha()
    const mounted = await mount('alpha', 'beta')
    assert.match(readFileSync(mounted.log, 'latin1'), /alpha:24007: connection refused/)
    // alpha's brick goes on, but nobody tells on which port until its glusterd is back.
    await startAlpha()
    const file = (i: number): string => `${mounted.dir}/file-${i}`
    await until('both bricks are there', () => {
      try {
        for (let i = 0; i < 20; i++) writeFileSync(file(i), `${i}`)
        return true
      } catch {
        return false
      }
    })
    for (const host of ['alpha', 'beta']) {
      assert.ok(readdirSync(space(`bricks/${host}`)).some((name) => name.startsWith('file-')))
    }
    await mounted.unmount()
  })

  for (const [what, servers] of [
    ['was given with a backup', ['alpha', 'beta']],
    ['has named its peer', ['alpha']],
  ] as const) {
    test(`the server stops while mounted: it ${what}`, async () => {
      const mounted = await mount(...servers)
      const file = `${mounted.dir}/while-away`
      writeFileSync(file, 'before')
      await stopAlpha()
      for (let i = 0; i < 20; i++) {
        writeFileSync(file, `write ${i}`)
        assert.equal(readFileSync(file, 'latin1'), `write ${i}`)
      }
      await until('beta is asked', () => logged(mounted, 'connected to volfile server beta') > 0)
      await hearsOfChanges(mounted, servers.length === 1 ? '31' : '30')
      await startAlpha()
      await mounted.unmount()
    })
  }
})
