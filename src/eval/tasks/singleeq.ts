import { wordProblems } from '../task-forms.ts'

export const singleeq = wordProblems({
  name: 'singleeq',
  about: 'word problems of one equation',
  source: 'Koncel-Kedziorski, Hajishirzi, Sabharwal et al., 2015',
  file: 'singleeq.json',
})
