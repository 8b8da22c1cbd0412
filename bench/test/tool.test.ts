import { expect, test } from 'vitest'
import { startTool } from '../harness/world/tool.ts'

/** Is ready, answers what it is told to at once, and says a word on the side, or a lot of them. */
const PROGRAM = `
  console.log(JSON.stringify({ event: 'ready' }))
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const { do: what } = JSON.parse(line)
    const words = what === 'talk' ? 'word '.repeat(100_000) : line
    console.error('heard', words)
    console.log(JSON.stringify({ event: 'said', words }))
    if (what !== 'nothing') console.log(JSON.stringify({ event: 'done', number: 7 }))
  })
`

test('a program that does not answer is ended, and what waits for it goes on', async () => {
  const tool = await startTool({ file: process.execPath, args: ['-e', PROGRAM], hangTimeoutMs: 50 })
  try {
    expect(await tool.ask({ do: 'answer' }, 10_000)).toMatchObject({ number: 7 })
    await expect(tool.ask({ do: 'nothing' }, 0)).rejects.toThrow(/hung, and was ended\nheard .*answer.*\nheard .*nothing/)
    await expect(tool.ask({ do: 'answer' }, 0)).rejects.toThrow(/hung/)
  } finally {
    await tool.stop()
  }
})

test('a program may say as much as it likes, for as long as it lives', async () => {
  const tool = await startTool({ file: process.execPath, args: ['-e', PROGRAM] })
  try {
    for (let round = 0; round < 3; round++) {
      const words: number[] = []
      await tool.ask({ do: 'talk' }, 10_000, ({ words: said }) => words.push(String(said).length))
      expect(words).toEqual([500_000])
    }
  } finally {
    await tool.stop()
  }
})
