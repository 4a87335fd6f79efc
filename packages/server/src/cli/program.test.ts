import type { Command } from 'commander'
import { expect, test } from 'vitest'
import { commands } from './commands.ts'
import { CommandError, exitOf, sentenceOf } from './exit.ts'
import { createProgram } from './program.ts'
import { AuditError } from '@affidavit/format'

function helpOf(command: Command): string {
  let help = ''
  command.configureOutput({ writeOut: (text) => (help += text) })
  command.outputHelp()
  return help
}

function leavesOf(command: Command): readonly Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leavesOf)
}

test('help lists every command with one line', async () => {
  const help = helpOf(await createProgram(commands, []))
  for (const name of Object.keys(commands))
    expect(help).toMatch(new RegExp(`^  ${name} .*[a-z]`, 'm'))
})

test('every command has --json, examples, and a description that begins in lower case', async () => {
  const program = await createProgram(commands, [])
  const complaints = program.commands.flatMap(leavesOf).flatMap((command) => {
    const help = helpOf(command)
    return [
      help.includes('--json') ? '' : `${command.name()} has no --json`,
      /Examples?:/.test(help) ? '' : `${command.name()} has no examples`,
      /^[a-z]/.test(command.description()) ? '' : `${command.name()} begins in upper case`,
    ]
  })
  expect(complaints.filter((complaint) => complaint !== '')).toEqual([])
})

test('a command that is named is loaded alone', async () => {
  const program = await createProgram(commands, ['keys', 'list'])
  expect(program.commands.map((command) => command.name())).toEqual(['keys'])
})

test('what was thrown decides sentence and exit', () => {
  const cases: readonly (readonly [unknown, string, string])[] = [
    [new CommandError('usage', 'No. Nothing. Do.'), 'usage', 'No. Nothing. Do.'],
    [new AuditError('ERR_LEDGER_LOCKED', 'Held.'), 'ledger', 'Held. (ERR_LEDGER_LOCKED)'],
    [Object.assign(new Error('ENOENT: x'), { code: 'ENOENT' }), 'notFound', 'ENOENT: x. Nothing'],
    [Object.assign(new Error('EACCES: x'), { code: 'EACCES' }), 'refused', 'Check the path'],
    [Object.assign(new Error('EIO: x'), { code: 'EIO' }), 'unreadable', 'EIO: x'],
    [new TypeError('x is not'), 'failed', 'AFFIDAVIT_DEBUG=1'],
    ['text', 'failed', 'text'],
  ]
  for (const [error, exit, sentence] of cases) {
    expect(exitOf(error)).toBe(exit)
    expect(sentenceOf(error)).toContain(sentence)
  }
})
