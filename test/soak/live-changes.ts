/**
 * `npm run soak -- live-changes`: a volume under verified load gets 30 option changes, three bricks
 * with new layouts, and loses a brick; no operation fails, no lock is lost, old graphs end.
 */
import { changeVolume, connections, LiveVolume } from '../lib/live-changes.ts'
import { enterSandbox, Volume } from '../lib/sandbox.ts'

const missing = await enterSandbox(import.meta.url, 30 * 60_000)
if (missing !== false) {
  console.error(`live-changes: ${missing}`)
  process.exit(1)
}
const changes = { processes: 3, values: 30, added: 3, whileAdding: 'all', removed: 1 } as const
const volume = await Volume.create('changes', { bricks: 2 })
const live = await LiveVolume.start(volume)
const [connectionsBefore, rssBefore] = [await connections(live.mount), live.mount.rssMib()]
await changeVolume(live, changes)
await live.settled()
const connectionsAfter = await connections(live.mount)
await live.end()
console.log(
  [
    `live-changes: ${changes.values} option changes, ${changes.added} bricks added with fix-layout, ` +
      `${changes.removed} removed: ${live.operations} verified operations, 0 problems`,
    `connections: ${connectionsBefore} with 2 bricks, ${connectionsAfter} with ${volume.bricks.length}`,
    `RSS: ${rssBefore.toFixed(1)} MiB before, ${live.mount.rssMib().toFixed(1)} MiB after`,
    'live-changes: all held',
  ].join('\n'),
)
await live.mount.unmount()
process.exit(connectionsAfter === connectionsBefore + volume.bricks.length - 2 ? 0 : 1)
