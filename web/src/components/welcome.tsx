import type { ReactNode } from 'react'
import type { Model } from '../served.ts'
import { Mark } from './mark.tsx'

interface WelcomeProps {
  model: Model | undefined
  /** What must be known of the model. */
  notice: ReactNode
  onExample: (text: string) => void
}

const questions = [
  'Explain attention in a transformer to a good high-school student.',
  'Write a TypeScript function that groups words by their first letter.',
  'Why are jackdaws drawn to shiny things, and is it even true?',
  'Give me a three-day plan for learning to read music.',
]

const starts = [
  'The old lighthouse keeper opened the door and saw',
  'The jackdaw is a small bird of the crow family. It',
  'My fellow citizens, in the year that has passed,',
  'Call me Ishmael. Some years ago',
]

/** The empty page: examples to begin with, fitting what the model can do. */
export function Welcome({ model, notice, onExample }: WelcomeProps) {
  const continues = model?.canChat === false
  return (
    <section className="welcome" aria-labelledby="welcome-title">
      <Mark className="welcome-mark" />
      <h1 id="welcome-title">{continues ? 'Begin a text' : 'What would you like to know?'}</h1>
      {model && <p className="welcome-model">{model.description}</p>}
      {notice}
      {model && (
        <ul className="examples" aria-label={continues ? 'Starts to try' : 'Questions to try'}>
          {(continues ? starts : model.examples.length > 0 ? model.examples : questions).map((example) => (
            <li key={example}>
              <button type="button" className="example" onClick={() => onExample(example)}>
                {example}
                {continues && ' …'}
              </button>
            </li>
          ))}
        </ul>
      )}
    </section>
  )
}
