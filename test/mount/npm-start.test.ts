/** `npm start`: what it leaves (nothing), what it survives, and how it says what is wrong. */
import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { createServer } from 'node:net'
import { after, describe, test } from 'node:test'
import { Demo, demoProgram } from '../lib/demo.ts'
import { embeddedSkip, eventually } from '../lib/embedded.ts'
import { asNobody, nobodySkip, projectRoot, run, sleep } from '../lib/sandbox.ts'
import { seeded } from '../lib/seeded.ts'

const skip = embeddedSkip()
/** NPM_START_INTERRUPTS=100: Ctrl-C at so many moments (`npm run soak -- embedded-start`). */
const interrupts = Number(process.env.NPM_START_INTERRUPTS ?? 3)
const seed = Number(process.env.NPM_START_SEED ?? 1)
/** Starting takes about this long on a quiet machine, ms. */
const startMs = 4000

describe('npm start', { skip, timeout: 100_000 + interrupts * 20_000 }, () => {
  const demo = new Demo()
  after(() => demo.remove())

  test('mounts; bricks and server may die; Ctrl-C leaves nothing', async () => {
    await demo.start()
    await demo.ready()
    fs.writeFileSync(demo.at('hello'), 'hello')
    const [, brick] = /brick (\S+): process \d+/.exec(demo.text) ?? []
    const [, pid] = /: process (\d+)/.exec(demo.text) ?? []
    process.kill(Number(pid), 'SIGKILL')
    const died = `brick ${brick} died (SIGKILL); bring it back: bin/gluster-ts`
    await eventually('it says which brick died', () => demo.text.includes(died))
    const server = await run(['pgrep', '-f', `${demo.directory} .* serve`])
    process.kill(Number(server.stdout), 'SIGKILL')
    await eventually('it says that the server died', () =>
      demo.text.includes('bricks and mount go on; starting it again'),
    )
    assert.equal(fs.readFileSync(demo.at('hello'), 'utf8'), 'hello')
    const words = ['-d', demo.directory, 'status', 'demo']
    await eventually('five bricks are found running, the sixth is started', async () => {
      const found = await run([`${projectRoot}/bin/gluster-ts`, ...words], { mayFail: true })
      return [...found.stdout.matchAll(/ Y {2,}\d+$/gm)].length === 6
    })
    demo.ctrlC()
    assert.equal(await demo.ended, 0)
    assert.equal(await demo.left(), '')
  })

  test('finds the same files after kill -9 of all of it', async () => {
    await demo.start()
    await demo.ready()
    assert.match(demo.text, /volume demo: found in/)
    assert.equal(fs.readFileSync(demo.at('hello'), 'utf8'), 'hello')
    process.kill(-(demo.child?.pid ?? 0), 'SIGKILL')
    await demo.ended
    await demo.start()
    await demo.ready()
    assert.equal(fs.readFileSync(demo.at('hello'), 'utf8'), 'hello')
    demo.ctrlC()
    assert.equal(await demo.ended, 0)
    assert.equal(await demo.left(), '')
  })

  test(`Ctrl-C at ${interrupts} moments of the start leaves nothing`, async () => {
    const random = seeded(seed)
    for (let i = 0; i < interrupts; i++) {
      const at = Math.floor(random() * startMs)
      await demo.start()
      await sleep(at)
      demo.ctrlC()
      const status = await demo.ended
      // Before its own handler is there, the signal itself ends it.
      assert.ok(status === 0 || status === null, `status ${status} after ${at} ms: ${demo.errors}`)
      // A brick that was just being forked sees by itself that it is not wanted.
      await eventually('nothing is left', async () => (await demo.left()) === '')
      if (status === 0) assert.equal(demo.errors, '', `after ${at} ms`)
    }
  })
})

describe('npm start says why it cannot', { skip, timeout: 60_000 }, () => {
  const demo = new Demo()
  after(() => demo.remove())

  async function fails(words: string[], expected: RegExp, wrapped: string[] = []): Promise<void> {
    const command = [...wrapped, process.execPath, demoProgram, ...(await demo.words(...words))]
    const { status, stderr } = await run(command, { mayFail: true })
    assert.equal(status, 1, stderr)
    assert.match(stderr, expected)
    assert.equal(stderr.trim().split('\n').length, 1)
    assert.equal(await demo.left(), '')
  }

  test('not root', { skip: nobodySkip() }, () => {
    fs.chmodSync(demo.directory, 0o777)
    return fails([], /^npm start: mounting and bricks need root: sudo npm start$/m, asNobody)
  })

  test('no /dev/fuse', () => {
    const hidden = 'mount -t tmpfs dev /dev && mknod /dev/null c 1 3 && exec "$@"'
    const words = ['unshare', '--mount', 'sh', '-c', hidden, 'sh']
    return fails([], /\/dev\/fuse is missing: load the module \(modprobe fuse\)$/m, words)
  })

  test('the port is taken', async () => {
    const [words] = [await demo.words()]
    const taken = createServer().listen(Number(words.at(-1)), '127.0.0.1')
    await fails([], /it is taken by another program; choose another with --port$/m)
    await new Promise((resolve) => taken.close(resolve))
  })

  test('the directory or the mount point is in use', async () => {
    await demo.start('--type', 'distribute')
    await demo.ready()
    const words = await demo.words('--mount', `${demo.mountPoint}2`)
    const second = await run([process.execPath, demoProgram, ...words], { mayFail: true })
    const inUse = /is in use: a management server runs there.*choose another --directory$/m
    assert.match(second.stderr, inUse)
    demo.ctrlC()
    assert.equal(await demo.ended, 0)
    await fails([], /is in use: it holds a volume of type Distribute, 2; choose another/)
    const file = `${demo.directory}/file`
    fs.writeFileSync(file, '')
    await fails(['--type', 'distribute', '--mount', file], /mount point .*file: /)
    await fails(['--type', 'nonsense'], /disperse nonsense: wanted K\+R/)
  })
})
