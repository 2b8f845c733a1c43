/**
 * A program under measurement: `worker.js ACTION DIR COUNT`, many small system calls in a row.
 * Prints the milliseconds they took, without the start of this process.
 */
import * as fs from 'node:fs'
import { clock } from '../../../src/core/clock.ts'

export type Action = 'create' | 'stat' | 'read' | 'rename'

export const FILE_BYTES = 4096
export const FILES_PER_DIRECTORY = 100

const file = (dir: string, i: number, suffix = ''): string =>
  `${dir}/d${Math.floor(i / FILES_PER_DIRECTORY)}/file-${i}${suffix}`

function create(dir: string, count: number): void {
  const content = Buffer.alloc(FILE_BYTES, 'glusterfs')
  fs.mkdirSync(dir, { recursive: true })
  for (let i = 0; i < count; i++) {
    if (i % FILES_PER_DIRECTORY === 0) fs.mkdirSync(`${dir}/d${i / FILES_PER_DIRECTORY}`)
    const fd = fs.openSync(file(dir, i), 'wx')
    fs.writeSync(fd, content)
    fs.closeSync(fd)
  }
}

function stat(dir: string, count: number): void {
  for (let i = 0; i < count; i++) {
    const { size } = fs.statSync(file(dir, i))
    if (size !== FILE_BYTES) throw new Error(`${file(dir, i)} has ${size} bytes`)
  }
}

function read(dir: string, count: number): void {
  const buffer = Buffer.alloc(2 * FILE_BYTES)
  for (let i = 0; i < count; i++) {
    const fd = fs.openSync(file(dir, i), 'r')
    const size = fs.readSync(fd, buffer)
    fs.closeSync(fd)
    if (size !== FILE_BYTES) throw new Error(`${file(dir, i)} gave ${size} bytes`)
  }
}

function rename(dir: string, count: number): void {
  for (let i = 0; i < count; i++) fs.renameSync(file(dir, i), file(dir, i, '.renamed'))
}

const actions: Record<Action, (dir: string, count: number) => void> = { create, stat, read, rename }

const [action, dir, count] = process.argv.slice(2)
const begin = clock.now()
actions[action as Action](dir!, Number(count))
process.stdout.write(String(clock.now() - begin))
