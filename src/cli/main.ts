/** The `glusterfs` command: what to do with a command line, and with which exit status it ends. */
import { writeSync } from 'node:fs'
import { errorLine, exitStatus } from './exit-status.ts'
import { helpText, printedDirectory, usageText, versionText } from './help.ts'
import { type CommandLine, parseCommandLine } from './options.ts'

/** Runs the command with the process's words; sets the exit status. */
export async function main(words: readonly string[] = process.argv.slice(2)): Promise<void> {
  try {
    const commandLine = parseCommandLine(words)
    writeSync(1, printedText(commandLine) ?? '')
  } catch (error) {
    writeSync(2, `${errorLine(error)}\n`)
    process.exitCode = exitStatus(error)
  }
}

function printedText(commandLine: CommandLine): string | undefined {
  const { given } = commandLine
  if (given.has('help')) return helpText()
  if (given.has('usage')) return usageText()
  if (given.has('version')) return versionText()
  for (const name of given) {
    const directory = printedDirectory(name)
    if (directory !== undefined) return `${directory}\n`
  }
  return undefined
}
