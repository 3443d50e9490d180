import { wordProblems } from '../task-forms.ts'

export const addsub = wordProblems({
  name: 'addsub',
  about: 'word problems of additions and subtractions',
  source: 'Hosseini, Hajishirzi, Etzioni and Kushman, 2014',
  file: 'addsub.json',
})
