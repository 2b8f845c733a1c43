/**
 * One file edited at random, through whichever mount each step is told, beside a copy in memory:
 * writes at odd offsets and of odd lengths, appends, truncation up and down, holes, preallocation,
 * renames.
 */
import assert from 'node:assert/strict'
import { closeSync, openSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Mount } from './sandbox.ts'
import { seeded } from './seeded.ts'
import * as sys from './syscalls.ts'

/** A file longer than this is cut. */
const SIZE_MAX = 300_000
const WRITE_SIZES = [10, 600, 5000, 40_000]

export class EditScript {
  content: Buffer = Buffer.alloc(0)
  name: string
  readonly #random: () => number
  #edits = 0

  constructor(seed: number, mount: Mount) {
    this.#random = seeded(seed)
    this.name = `script-${seed}`
    closeSync(openSync(join(mount.dir, this.name), 'wx'))
  }

  /** Does the next step; throws when a call does not do what it should. */
  edit(mount: Mount): void {
    const path = join(mount.dir, this.name)
    const size = this.content.length
    const choice = this.#number(20)
    try {
      if (size > SIZE_MAX) this.#truncate(path, 1000)
      else if (choice < 10) this.#write(path, choice < 3)
      else if (choice < 14) this.#truncate(path, this.#number(size + 4000))
      else if (choice < 16 && size > 0) this.#punch(path)
      else if (choice < 17) this.#preallocate(path)
      else this.#rename(path, mount)
    } catch (error) {
      throw new Error(`${this.name}, edit ${this.#edits} through ${mount.kind}`, { cause: error })
    }
    this.#edits++
  }

  /** The file is what it should be, seen through `mount`. */
  check(mount: Mount, what: string): void {
    const path = join(mount.dir, this.name)
    const where = `${what}, after edit ${this.#edits}, ${this.name} through ${mount.kind}`
    assert.equal(statSync(path).size, this.content.length, `${where}: size`)
    assert.ok(readFileSync(path).equals(this.content), `${where}: content`)
  }

  #number(below: number): number {
    return Math.floor(this.#random() * below)
  }

  #bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    let state = this.#number(2 ** 32) | 1
    for (let i = 0; i < length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0
      bytes[i] = state >>> 24
    }
    return bytes
  }

  #write(path: string, append: boolean): void {
    const fd = sys.must(sys.open(path, append ? sys.O.O_WRONLY | sys.O.O_APPEND : sys.O.O_RDWR))
    for (let i = this.#number(3); i >= 0; i--) {
      const data = this.#bytes(1 + this.#number(WRITE_SIZES[this.#number(4)]!))
      const offset = append ? this.content.length : this.#number(this.content.length + 3000)
      const count = append ? sys.write(fd, data) : sys.pwrite(fd, data, offset)
      assert.equal(count, data.length, 'written')
      this.#resize(Math.max(this.content.length, offset + data.length))
      data.copy(this.content, offset)
    }
    assert.equal(sys.close(fd), 0, 'close')
  }

  #truncate(path: string, size: number): void {
    assert.equal(sys.truncate(path, size), 0, 'truncate')
    this.#resize(size)
  }

  #punch(path: string): void {
    const from = this.#number(this.content.length)
    // A hole across the end would be stock's own fault (fragments too long to heal).
    const length = Math.min(this.content.length - from, 1 + this.#number(12_000))
    const fd = sys.must(sys.open(path, sys.O.O_RDWR))
    const mode = sys.FALLOC.PUNCH_HOLE | sys.FALLOC.KEEP_SIZE
    assert.equal(sys.fallocate(fd, mode, from, length), 0, 'hole')
    assert.equal(sys.close(fd), 0, 'close')
    this.content.fill(0, from, from + length)
  }

  #preallocate(path: string): void {
    const from = this.#number(this.content.length + 3000)
    const length = 1 + this.#number(12_000)
    const fd = sys.must(sys.open(path, sys.O.O_RDWR))
    assert.equal(sys.fallocate(fd, 0, from, length), 0, 'fallocate')
    assert.equal(sys.close(fd), 0, 'close')
    this.#resize(Math.max(this.content.length, from + length))
  }

  #rename(path: string, mount: Mount): void {
    const name = `${this.name.split('.')[0]}.${this.#edits}`
    assert.equal(sys.rename(path, join(mount.dir, name)), 0, 'rename')
    this.name = name
  }

  #resize(size: number): void {
    const next = Buffer.alloc(size)
    this.content.copy(next)
    this.content = next
  }
}
