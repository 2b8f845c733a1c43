/**
 * What `ps`, `pidof`, `pgrep` and /proc show of the process: `glusterfs` and its arguments exactly
 * as given, although the program that runs is node with a script. Scripts find a mount's process
 * that way.
 */
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { type MemoryMap, setMemoryMap } from './native.ts'

/** proc_pid_stat(5), fields 26-28 and 45-51. */
function memoryMap(): MemoryMap {
  const stat = readFileSync('/proc/self/stat', 'latin1')
  // The second field is the command in parentheses and may contain anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const field = (number: number): bigint => BigInt(fields[number - 3]!)
  return {
    startCode: field(26),
    endCode: field(27),
    startStack: field(28),
    startData: field(45),
    endData: field(46),
    startBrk: field(47),
    argStart: field(48),
    argEnd: field(49),
    envStart: field(50),
    envEnd: field(51),
  }
}

/**
 * Names this process `words[0]` with the arguments that follow, if they fit into the room of the
 * arguments it was started with. `process.title` would join the words by spaces and put the first
 * 15 characters of that in comm; so the kernel's argument area is written directly.
 */
export function showAs(words: readonly string[]): void {
  const text = Buffer.from(`${words.join('\0')}\0`)
  const map = memoryMap()
  const room = Number(map.argEnd - map.argStart)
  if (map.argStart > 0n && text.length <= room) {
    const padded = Buffer.alloc(room)
    text.copy(padded)
    const memory = openSync('/proc/self/mem', 'r+')
    try {
      writeSync(memory, padded, 0, padded.length, Number(map.argStart))
    } finally {
      closeSync(memory)
    }
    // Where the kernel refuses, empty arguments trail: harmless.
    setMemoryMap({ ...map, argEnd: map.argStart + BigInt(text.length) })
  }
  writeFileSync('/proc/self/comm', words[0]!.slice(0, 15))
}
