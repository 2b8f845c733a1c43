/** Servers that differ: many bricks in one process, logins and addresses, IPv6. */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import {
  enterSandbox,
  gluster,
  launcher,
  type RunResult,
  run,
  sh,
  sleep,
  space,
  Volume,
} from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

let mounts = 0

async function mount(...words: string[]): Promise<RunResult & { dir: string }> {
  const dir = space(`mnt/net-${mounts++}`)
  mkdirSync(dir, { recursive: true })
  return { ...(await run([launcher, ...words, dir], { mayFail: true })), dir }
}

describe('servers', { skip, timeout: 120_000 }, () => {
  const server = '--volfile-server=node01'

  test('brick multiplexing: each volume gets its own files', async () => {
    await gluster('volume', 'set', 'all', 'cluster.brick-multiplex', 'on')
    const volumes = [
      await Volume.create('one', { bricks: 2 }),
      await Volume.create('two', { bricks: 2 }),
    ]
    assert.equal((await run(['pidof', 'glusterfsd'])).stdout.trim().split(' ').length, 1)
    for (const volume of volumes) {
      const { dir, stderr } = await mount(server, `--volfile-id=${volume.name}`)
      assert.equal(stderr, '')
      for (let i = 0; i < 20; i++) writeFileSync(`${dir}/${volume.name}-${i}`, volume.name)
      const found = volume.bricks.flatMap((brick) => readdirSync(brick)).filter((n) => n[0] !== '.')
      assert.equal(found.length, 20)
      assert.ok(found.every((name) => name.startsWith(volume.name)))
      await run(['umount', dir])
    }
  })

  test('addresses and logins', async () => {
    const refusal = /^glusterfs: the bricks refuse this client: .*Authentication failed\n$/
    // Of a client on a server's own machine glusterd tells the login; `.tcp-fuse` is without.
    const [trusted, stranger] = ['--volfile-id=one', '--volfile-id=one.tcp-fuse']
    const allowed = async (id: string, expected: boolean): Promise<void> => {
      const { status, stderr, dir } = await mount(server, id)
      if (expected) {
        assert.equal(stderr, '')
        await run(['umount', dir])
      } else {
        assert.match(stderr, refusal)
        assert.equal(status, 1)
      }
    }
    await gluster('volume', 'set', 'one', 'auth.allow', '192.0.2.1')
    await allowed(trusted, true)
    await allowed(stranger, false)
    await gluster('volume', 'set', 'one', 'auth.allow', '10.66.*')
    await allowed(stranger, true)
    await gluster('volume', 'set', 'one', 'auth.reject', '10.66.0.1')
    await allowed(trusted, false)
    await gluster('volume', 'reset', 'one', 'auth.reject')
  })

  test('IPv6 only', async () => {
    await sh('ip addr add fd00:66::1/64 dev lo')
    writeFileSync('/etc/hosts', '127.0.0.1 localhost\nfd00:66::1 node01\n')
    const configuration = readFileSync('/etc/glusterfs/glusterd.vol', 'utf8')
    const changed = space('glusterd.vol')
    const family = 'option transport.address-family inet6'
    writeFileSync(changed, configuration.replace(/^end-volume/m, `    ${family}\nend-volume`))
    await sh(`mount --bind ${changed} /etc/glusterfs/glusterd.vol
      kill $(pidof glusterd); sleep 1; glusterd -l /var/log/glusterfs/glusterd.log`)
    await sleep(2000)
    await gluster('volume', 'set', 'all', 'cluster.brick-multiplex', 'off')
    await Volume.create('six', { bricks: 2 })
    for (const words of [
      [server],
      ['--volfile-server=fd00:66::1', '--volfile-server-transport=inet6'],
    ]) {
      const { dir, stderr } = await mount(...words, '--volfile-id=six')
      assert.equal(stderr, '')
      writeFileSync(`${dir}/file`, words.join())
      assert.equal(readFileSync(`${dir}/file`, 'utf8'), words.join())
      await run(['umount', dir])
    }
    const { stderr } = await mount(server, '--volfile-server-transport=inet', '--volfile-id=six')
    assert.match(stderr, /the name node01 cannot be resolved to an IPv4 address/)
  })
})
