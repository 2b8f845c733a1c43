/** Whom a brick lets in: addresses, ports, logins, sub-directories, certificates. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { E } from '../../src/core/errno.ts'
import { ROOT_GFID } from '../../src/core/gfid.ts'
import { Loc } from '../../src/core/loc.ts'
import { Brick } from '../lib/brick.ts'
import { enterSandbox, run, sh, sleep, space, Volume } from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

describe('what a brick asks of its clients', { skip }, () => {
  let volume: Volume

  before(async () => {
    volume = await Volume.create('door', { bricks: 1 })
  })
  after(async () => {
    await volume?.killBricks()
  })

  const rootLookup = async (brick: Brick): Promise<void> => {
    const { stat } = await brick.ok('lookup', { loc: Loc.ofInode(brick.root) })
    assert.equal(stat.gfid, ROOT_GFID)
  }

  test('a refused address: told once, with the reason, and no storm of attempts', async () => {
    await volume.set('auth.reject', '10.66.0.1')
    const brick = await Brick.connect('door', { until: 'auth-failed', graphId: 1 })
    await brick.event('child-down')
    await sleep(1500)
    assert.deepEqual(brick.events, [])
    await brick.fails(E.NOTCONN, 'stat', { loc: Loc.ofInode(brick.root) })
    await brick.graph.stop()
    await run(['gluster', '--mode=script', 'volume', 'reset', 'door', 'auth.reject'])
  })

  test('only ports below 1024: one of them is taken', async () => {
    await volume.set('server.allow-insecure', 'off')
    const options = { 'client-bind-insecure': 'off' }
    const brick = await Brick.connect('door', { options, graphId: 2 })
    await rootLookup(brick)
    const { stdout } = await run(['ss', '-tnH', 'state', 'established'])
    const ports = [...stdout.matchAll(/:(\d+)\s+\S+:\d+/g)].map((match) => Number(match[1]))
    assert.ok(
      ports.some((port) => port > 511 && port < 1024),
      stdout,
    )
    await brick.graph.stop()
    await volume.set('server.allow-insecure', 'on')
  })

  test('an ordinary port where none below 1024 is free', async () => {
    // Nobody but root may bind them; here they are simply all in use.
    const { createServer } = await import('node:net')
    const servers = await Promise.all(
      Array.from({ length: 512 }, async (_, i) => {
        const server = createServer()
        await new Promise<void>((done) => {
          server.on('error', () => done())
          server.listen(512 + i, () => done())
        })
        return server
      }),
    )
    const options = { 'client-bind-insecure': 'off' }
    const brick = await Brick.connect('door', { options, graphId: 3 })
    await rootLookup(brick)
    await brick.graph.stop()
    for (const server of servers) server.close()
  })

  test('a sub-directory is the root; a missing one is refused', async () => {
    const whole = await Brick.connect('door', { graphId: 4 })
    const dir = await whole.mkdir('sub')
    const fd = await whole.create('outside')
    fd.release()
    const part = await Brick.connect('door', { graphId: 5, subdirMount: '/sub' })
    await rootLookup(part)
    const inside = await part.create('inside')
    inside.release()
    assert.ok(existsSync(`${volume.bricks[0]}/sub/inside`))
    const loc = Loc.ofName(dir, 'inside', whole.graph.inodes.newInode())
    assert.equal((await whole.ok('lookup', { loc })).stat.nlink, 1)
    await part.graph.stop()
    await whole.graph.stop()

    const missing = await Brick.connect('door', {
      graphId: 6,
      subdirMount: '/none',
      until: 'auth-failed',
    })
    await missing.graph.stop()
  })

  test('TLS: many calls at once', async () => {
    const key = space('key.pem')
    const cert = space('cert.pem')
    await sh(
      `openssl req -x509 -newkey rsa:2048 -nodes -keyout ${key} -out ${cert} -days 2 -subj /CN=t`,
    )
    const secure = await Volume.create('tls', {
      bricks: 1,
      set: {
        'client.ssl': 'on',
        'server.ssl': 'on',
        'ssl.own-cert': cert,
        'ssl.private-key': key,
        'ssl.ca-list': cert,
        'auth.ssl-allow': 't',
      },
    })
    const brick = await Brick.connect('tls')
    const fd = await brick.create('file')
    const data = Buffer.alloc(300_000, 'tls ')
    // A stock server forgets calls that share a TLS record: each must travel in its own.
    await Promise.all(
      Array.from({ length: 32 }, async (_, i) => {
        const offset = i * data.length
        await brick.ok('writev', { fd, data: [data], size: data.length, offset, flags: 0 })
        await Promise.all([rootLookup(brick), brick.ok('fstat', { fd }), rootLookup(brick)])
        const read = await brick.ok('readv', { fd, size: data.length, offset, flags: 0 })
        assert.ok(Buffer.concat(read.data).equals(data))
      }),
    )
    fd.release()
    await brick.graph.stop()
    await secure.killBricks()
  })
})
