import { Command } from 'commander'

const program = new Command('jackdaw')
  .description('The whole ChatGPT stack, paper by paper: train, align, run and serve language models.')
  .version('0.1.0')

program.parseAsync()
