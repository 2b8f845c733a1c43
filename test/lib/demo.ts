/** `npm start` under test: the program behind it, in a process group of its own. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort, isMounted } from './embedded.ts'
import { projectRoot, run, sleep } from './sandbox.ts'

/** A start takes seconds, on a machine that does other things many. */
const READY_POLLS_MAX = 1200
const READY_POLL_MS = 50

export const demoProgram = join(projectRoot, 'dist/src/server/demo.js')

export class Demo {
  readonly directory = fs.mkdtempSync(join(tmpdir(), 'glusterfs-ts-demo-'))
  readonly mountPoint = join(this.directory, 'mnt')
  port = 0
  text = ''
  errors = ''
  child: ChildProcess | undefined
  ended: Promise<number | null> = Promise.resolve(null)

  async words(...more: string[]): Promise<string[]> {
    if (this.port === 0) this.port = await freePort()
    const port = String(this.port)
    return ['--directory', this.directory, '--mount', this.mountPoint, '--port', port, ...more]
  }

  async start(...more: string[]): Promise<void> {
    this.text = ''
    this.errors = ''
    const child = spawn(process.execPath, [demoProgram, ...(await this.words(...more))], {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child = child
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      this.text += chunk
    })
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      this.errors += chunk
    })
    this.ended = new Promise((resolve) => child.once('close', resolve))
  }

  /** Until it says that it is mounted. */
  async ready(): Promise<void> {
    for (let i = 0; i < READY_POLLS_MAX && !this.text.includes('Ctrl-C'); i++) {
      assert.equal(this.errors, '')
      await sleep(READY_POLL_MS)
    }
    assert.ok(this.text.includes('Ctrl-C'), `mounted: ${this.text}`)
  }

  /** As a terminal does it: to the whole process group. */
  ctrlC(): void {
    process.kill(-(this.child?.pid ?? 0), 'SIGINT')
  }

  at(name: string): string {
    return join(this.mountPoint, name)
  }

  /** Processes and mounts that name its directory. */
  async left(): Promise<string> {
    const { stdout } = await run(['pgrep', '-fa', this.directory], { mayFail: true })
    return stdout + (isMounted(this.mountPoint) ? `mounted: ${this.mountPoint}` : '')
  }

  remove(): void {
    fs.rmSync(this.directory, { recursive: true, force: true })
  }
}
