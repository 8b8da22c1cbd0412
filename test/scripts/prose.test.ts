/** The prose check: what it complains about, and what it leaves alone. */
import { expect, it } from 'vitest'
import { proseProblems } from '../../scripts/proseRules.ts'

const problems = async (text: string) => proseProblems('a.md', text, '.md')

it.each([
  ['Workers serve on.', 'a.md:1:9: "serve on": write keep serving'],
  ['A word.\nThen the time-out.', 'a.md:2:10: "time-out": write timeout'],
  ['| a | b |\n| - | - |\n| x | for ever |', 'a.md:3:7: "for ever": write forever'],
  ['It moves. Whoever asks waits.', 'a.md:1:11: "Whoever asks waits. ...": begin with name the person or the process'],
  ['Of a service only counters are known.', 'a.md:1:1: "Of a service only counters are ...": begin with the subject first'],
  [`It ${'very '.repeat(44)}ends.`, 'a.md:1:1: "It very very very very very ve ..." has 46 words: make two sentences of it'],
])('complains about %j', async (text, problem) => {
  expect(await problems(text)).toEqual([problem])
})

it.each([
  'Code is not prose: `serve on`.',
  'They say "serve on".',
  '```\nserve on\n```',
  'See [this](docs/serve on.md).',
  'Who may use it?',
  'It serves on a port.',
])('leaves %j alone', async (text) => {
  expect(await problems(text)).toEqual([])
})
