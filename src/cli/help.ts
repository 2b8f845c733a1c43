/** Texts of `--help`, `--usage`, `--version` and `--print-*dir`. */
import { existsSync } from 'node:fs'
import { type CliOption, cliOptions } from './option-table.ts'
import { makeCommand } from './options.ts'

/** The GlusterFS release this client speaks and reports itself as. */
export const GLUSTERFS_VERSION = '10.3'

export const LOG_DIRECTORY = '/var/log/glusterfs'

import { STATEDUMP_DIRECTORY } from '../observe/statedump.ts'
export const DEFAULT_VOLFILE = '/etc/glusterfs/glusterfs.vol'

export function helpText(): string {
  const text = makeCommand()
    .configureHelp({ helpWidth: 80, minWidthToWrap: 20 })
    .helpInformation()
    .replace(/^ +mount-point.*\n/m, '')
  const second = '  or:  glusterfs [OPTION...] --volfile=VOLFILE [MOUNT-POINT]'
  return text.replace(/^(Usage: .*)\n/, `$1\n${second}\n`)
}

export function usageText(): string {
  const words = Object.entries(cliOptions as Readonly<Record<string, CliOption>>)
    .filter(([, spec]) => spec.hidden !== true)
    .map(([name, spec]) => {
      if (spec.argument === undefined) return `[--${name}]`
      return spec.bare === undefined
        ? `[--${name}=${spec.argument}]`
        : `[--${name}[=${spec.argument}]]`
    })
  const lines = ['Usage: glusterfs']
  for (const word of [...words, '[MOUNT-POINT]']) {
    if (lines.at(-1)!.length + word.length > 78) lines.push('           ')
    lines[lines.length - 1] += ` ${word}`
  }
  return `${lines.join('\n')}\n`
}

/** First line as stock prints it: scripts take the version from there. */
export function versionText(): string {
  return (
    `glusterfs ${GLUSTERFS_VERSION}\n` +
    `glusterfs-ts: a GlusterFS ${GLUSTERFS_VERSION} client on Node.js ${process.versions.node}\n` +
    'Licensed under the Apache License, Version 2.0; comes with ABSOLUTELY NO WARRANTY.\n'
  )
}

/** What `--print-NAME` prints, `undefined` for another option. */
export function printedDirectory(name: string): string | undefined {
  switch (name) {
    case 'print-xlatordir':
      return `${libraryDirectory()}/${GLUSTERFS_VERSION}/xlator`
    case 'print-statedumpdir':
      return STATEDUMP_DIRECTORY
    case 'print-logdir':
      return LOG_DIRECTORY
    case 'print-libexecdir':
      return libraryDirectory()
    default:
      return undefined
  }
}

function libraryDirectory(): string {
  const triplet = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }[process.arch as 'x64']
  const multiarch = triplet === undefined ? undefined : `/usr/lib/${triplet}`
  return multiarch !== undefined && existsSync(multiarch)
    ? `${multiarch}/glusterfs`
    : '/usr/lib/glusterfs'
}
