/** What `gluster-ts` prints, laid out as `gluster volume status`, `info` and `heal info` do. */
import { hostname } from 'node:os'
import { pendingOfBrick } from '../server/heal.ts'
import type { BrickStatus } from '../server/management.ts'
import { isArbiter, shapeText, type Volume } from '../server/volume.ts'

const NAME_WIDTH = 43
const RULE = '-'.repeat(78)

export function statusText(volume: string, bricks: readonly BrickStatus[]): string {
  const row = (name: string, port: string, online: string, pid: string): string => {
    // A long name has a line of its own.
    const first =
      name.length < NAME_WIDTH ? name.padEnd(NAME_WIDTH) : `${name}\n${''.padEnd(NAME_WIDTH)}`
    return `${first} ${port.padEnd(9)} ${online.padEnd(7)} ${pid}`
  }
  const rows = bricks.map(({ path, port, online, pid }) =>
    row(
      `Brick ${hostname()}:${path}`,
      online ? String(port) : 'N/A',
      online ? 'Y' : 'N',
      String(pid ?? 'N/A'),
    ),
  )
  const head = row('Gluster process', 'TCP Port', 'Online', 'Pid')
  return [`Status of volume: ${volume}`, head, RULE, ...rows].join('\n')
}

export function infoText(volume: Volume): string {
  const { type, bricks } = shapeText(volume)
  const arbiter = (path: string): string => (isArbiter(volume, path) ? ' (arbiter)' : '')
  const options = Object.entries(volume.options ?? {})
  return [
    '',
    `Volume Name: ${volume.name}`,
    `Type: ${type}`,
    `Volume ID: ${volume.id}`,
    `Status: ${volume.started ? 'Started' : 'Created or stopped'}`,
    `Number of Bricks: ${bricks}`,
    'Transport-type: tcp',
    'Bricks:',
    ...volume.bricks.map((path, i) => `Brick${i + 1}: ${hostname()}:${path}${arbiter(path)}`),
    ...(options.length > 0 ? ['Options Reconfigured:'] : []),
    ...options.map(([name, value]) => `${name}: ${value}`),
  ].join('\n')
}

export function healInfoText(bricks: readonly BrickStatus[]): string {
  return bricks
    .map(({ path, online }) => {
      const gfids = pendingOfBrick(path)
      return [
        `Brick ${hostname()}:${path}`,
        ...gfids.map((gfid) => `<gfid:${gfid}>`),
        `Status: ${online ? 'Connected' : 'Transport endpoint is not connected'}`,
        `Number of entries: ${gfids.length}`,
        '',
      ].join('\n')
    })
    .join('\n')
}
