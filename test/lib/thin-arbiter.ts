/** A real volume of two bricks and a thin arbiter. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { gluster, run, sleep, space, Volume } from './sandbox.ts'

const TEMPLATE = '/etc/glusterfs/thin-arbiter.vol'
/** Not one that glusterd gives to bricks. */
const PORT = 60_111

export interface ThinArbiterVolume {
  volume: Volume
  /** The record: xattrs of the thin arbiter's file, by key, hex, those that are not zero. */
  record: () => Promise<Record<string, string>>
}

/**
 * The thin arbiter is usually a machine of its own. Here its process is started as one of the
 * volume's bricks, so that glusterd knows its port.
 */
export async function createThinArbiter(
  name: string,
  set: Record<string, string>,
): Promise<ThinArbiterVolume> {
  mkdirSync(space('bricks'), { recursive: true })
  const bricks = [0, 1].map((i) => space(`bricks/${name}-${i}`))
  const directory = space(`bricks/${name}-ta`)
  const paths = [...bricks, directory].map((path) => `node01:${path}`)
  await gluster('volume', 'create', name, 'replica', '2', 'thin-arbiter', '1', ...paths, 'force')
  for (const [key, value] of Object.entries(set)) await gluster('volume', 'set', name, key, value)
  mkdirSync(`${directory}/.glusterfs/indices`, { recursive: true })
  const id = `${name}.node01.ta`
  const volfile = readFileSync(TEMPLATE, 'latin1').replaceAll('/mnt/thin-arbiter', directory)
  writeFileSync(`/var/lib/glusterd/vols/${name}/${id}.vol`, volfile)
  await gluster('volume', 'start', name)
  const pidFile = `/run/${id}.pid`
  const names = ['-s', 'node01', '--volfile-id', id, '--brick-name', directory]
  const port = ['--brick-port', String(PORT), '--xlator-option', `ta-server.listen-port=${PORT}`]
  const log = ['-l', `/var/log/glusterfs/${id}.log`, '-p', pidFile]
  await run(['/usr/sbin/glusterfsd', ...names, ...port, ...log, '--process-name', 'brick'])
  await sleep(1000)
  const record = async (): Promise<Record<string, string>> => {
    const script = `getfattr -d -m trusted.afr -e hex '${directory}'/trusted.afr.*`
    const { stdout } = await run(['bash', '-c', script], { mayFail: true })
    const lines = stdout.matchAll(/^(trusted\.afr\.\S+)=0x(?!0*$)(\w+)$/gm)
    return Object.fromEntries([...lines].map(([, key, value]) => [key!, value!]))
  }
  return { volume: new Volume(name, bricks), record }
}
