/** Demonstrations with their reasoning, in the form of the paper's, one list a kind of question; written for jackdaw. */

export interface Exemplar {
  readonly question: string
  /** Whole sentences that lead to the answer. */
  readonly rationale: string
  /** The rationale as one calculation, where it is one. */
  readonly equation?: string
  /** As it stands after “The answer is”: without the full stop. */
  readonly answer: string
}

const choices = (...texts: string[]): string =>
  `Answer Choices: ${texts.map((text, i) => `(${'ABCDEF'[i]}) ${text}`).join(' ')}`

/** For GSM8K, SVAMP, MultiArith, AddSub and SingleEq. */
export const ARITHMETIC: readonly Exemplar[] = [
  {
    question: 'A bakery baked 24 rolls. In the evening 9 rolls are left. How many rolls were sold?',
    rationale: 'There were 24 rolls at first, and 9 are left. So 24 - 9 = 15 rolls were sold.',
    equation: '24 - 9 = 15',
    answer: '15',
  },
  {
    question: 'There are 6 books on a shelf, and Nora puts 5 more on it. How many books are on the shelf now?',
    rationale: 'There were 6 books. With 5 more there are 6 + 5 = 11 books.',
    equation: '6 + 5 = 11',
    answer: '11',
  },
  {
    question:
      'Ben picked 18 apples and his brother picked 27. They gave 20 apples to a neighbour. How many do they have left?',
    rationale: 'Together they picked 18 + 27 = 45 apples. After giving 20 away they have 45 - 20 = 25.',
    equation: '18 + 27 - 20 = 25',
    answer: '25',
  },
  {
    question: 'Mia had 30 stamps. She gave some to Leo, and now she has 22. How many stamps did she give to Leo?',
    rationale: 'Mia began with 30 stamps and kept 22. She gave Leo the others, 30 - 22 = 8.',
    equation: '30 - 22 = 8',
    answer: '8',
  },
  {
    question:
      'Tom has 4 crayons. His aunt gives him 3 crayons, and his uncle gives him 3 as well. How many crayons has he now?',
    rationale: 'From his aunt and his uncle he gets 3 each, which is 2 * 3 = 6. With those he had that is 4 + 6 = 10.',
    equation: '4 + 2 * 3 = 10',
    answer: '10',
  },
  {
    question:
      'A hall had 12 chairs. On each day from Monday to Friday 4 more chairs were brought. How many chairs are in the hall?',
    rationale:
      'Monday to Friday are 5 days. On each of them came 4 chairs, so 5 * 4 = 20 were brought. 12 + 20 = 32 chairs are there.',
    equation: '12 + 5 * 4 = 32',
    answer: '32',
  },
  {
    question: 'A tank held 60 litres. On Monday 17 litres were used, and on Tuesday 8 more. How many litres are left?',
    rationale: 'After Monday there were 60 - 17 = 43 litres. After Tuesday there are 43 - 8 = 35 litres.',
    equation: '60 - 17 - 8 = 35',
    answer: '35',
  },
  {
    question: 'Ada has 50 euros. She buys 6 pens at 4 euros each. How much money has she left?',
    rationale: 'Six pens at 4 euros are 6 * 4 = 24 euros. Of 50 euros she has 50 - 24 = 26 left.',
    equation: '50 - 6 * 4 = 26',
    answer: '26',
  },
]

/** For AQuA. */
export const ALGEBRA: readonly Exemplar[] = [
  {
    question: `If 5 pencils cost 40 cents, how many cents do 8 pencils cost? ${choices('56', '60', '64', '72', '80')}`,
    rationale: 'One pencil costs 40 / 5 = 8 cents. Eight pencils cost 8 * 8 = 64 cents.',
    equation: '40 / 5 * 8 = 64',
    answer: '(C)',
  },
  {
    question: `A cyclist rides 18 km in 45 minutes. What is her speed in km per hour? ${choices('20', '24', '27', '30', '36')}`,
    rationale: '45 minutes are 45 / 60 = 0.75 hours. The speed is 18 / 0.75 = 24 km per hour.',
    equation: '18 / (45 / 60) = 24',
    answer: '(B)',
  },
  {
    question: `The average of 4 numbers is 15. The number 25 is added to them. What is the average now? ${choices('17', '18', '19', '20', '21')}`,
    rationale: 'The 4 numbers sum up to 4 * 15 = 60. With 25 that is 85. The average of 5 numbers is 85 / 5 = 17.',
    equation: '(4 * 15 + 25) / 5 = 17',
    answer: '(A)',
  },
  {
    question: `If x / 3 = y and 2y = 12, what is x? ${choices('2', '6', '9', '12', '18')}`,
    rationale: 'From 2y = 12 follows y = 6. As y is a third of x, x is 3 * 6 = 18.',
    equation: '12 / 2 * 3 = 18',
    answer: '(E)',
  },
]

/** For CommonsenseQA. */
export const COMMON_SENSE: readonly Exemplar[] = [
  {
    question: `Where would you keep milk so that it stays fresh? ${choices('oven', 'refrigerator', 'window sill', 'car', 'garden')}`,
    rationale: 'Milk stays fresh where it is cold. Of these places only a refrigerator is always cold.',
    answer: '(B)',
  },
  {
    question: `What do people take along to see in the dark? ${choices('spoon', 'pillow', 'lamp', 'carpet', 'whistle')}`,
    rationale: 'To see in the dark one needs light. Of these things only a lamp gives light.',
    answer: '(C)',
  },
  {
    question: `He was thirsty after the long run, so what did he do? ${choices('drink water', 'go to sleep', 'shout', 'open an umbrella', 'read a book')}`,
    rationale: 'Who is thirsty wants to drink. So he drank water.',
    answer: '(A)',
  },
  {
    question: `What happens to ice on a hot day? ${choices('it grows', 'it burns', 'it falls asleep', 'it melts', 'it rusts')}`,
    rationale: 'Ice is frozen water. Warmth makes it water again, so it melts.',
    answer: '(D)',
  },
  {
    question: `Where do many people sit quietly and read? ${choices('stadium', 'market', 'disco', 'workshop', 'library')}`,
    rationale: 'A place for reading has books and is quiet. Of these places that is a library.',
    answer: '(E)',
  },
  {
    question: `What might someone do who is late for a train? ${choices('hurry', 'sit down', 'cook a meal', 'write a letter', 'whisper')}`,
    rationale: 'Who is late has little time. To catch the train, one must be quick, so one hurries.',
    answer: '(A)',
  },
  {
    question: `Where would you hear a violin with many other instruments? ${choices('kitchen', 'orchestra', 'forest', 'elevator', 'dentist')}`,
    rationale: 'Many instruments are played together in an orchestra, and violins are among them.',
    answer: '(B)',
  },
]

/** For StrategyQA. */
export const STRATEGY: readonly Exemplar[] = [
  {
    question: 'Could a giraffe walk upright through an ordinary door of a house?',
    rationale: 'A giraffe is more than four metres tall. An ordinary door is about two metres high. So it could not.',
    answer: 'no',
  },
  {
    question: 'Would a snowman in January last longer in Helsinki than in Cairo?',
    rationale: 'January is freezing cold in Helsinki and mild in Cairo. A snowman melts where it is not freezing.',
    answer: 'yes',
  },
  {
    question: 'Can a person born in 2010 have met Albert Einstein?',
    rationale: 'Albert Einstein died in 1955. Who was born in 2010 came 55 years later. So they cannot have met.',
    answer: 'no',
  },
  {
    question: 'Are a dozen eggs enough for five people to have two each?',
    rationale: 'A dozen are 12 eggs. Five people with two eggs each need 10. 12 is more than 10.',
    answer: 'yes',
  },
  {
    question: 'Would a strict vegetarian order a beef burger?',
    rationale: 'Beef is meat. A strict vegetarian eats no meat. So a vegetarian would not order it.',
    answer: 'no',
  },
  {
    question: 'Would a whale drown if it never came to the surface?',
    rationale: 'Whales are mammals, which breathe air. There is air only at the surface. Without it they drown.',
    answer: 'yes',
  },
]

/** For dates, with choices. */
export const DATES: readonly Exemplar[] = [
  {
    question: `Today is March 3, 2015. What is the date tomorrow in MM/DD/YYYY? ${choices('03/02/2015', '03/04/2015', '04/04/2015', '03/04/2014', '03/10/2015', '02/04/2015')}`,
    rationale: 'Today is 03/03/2015. Tomorrow is one day later, 03/04/2015.',
    answer: '(B)',
  },
  {
    question: `The party was on 12/30/1999, and three days have passed since. What is the date today in MM/DD/YYYY? ${choices('01/02/2000', '12/27/1999', '01/03/2000', '02/01/2000', '01/02/1999', '12/31/1999')}`,
    rationale: 'One day after 12/30/1999 is 12/31/1999, two days after is 01/01/2000, three days after is 01/02/2000.',
    answer: '(A)',
  },
  {
    question: `Yesterday was the last day of February 2019. What is the date one week from today in MM/DD/YYYY? ${choices('03/01/2019', '02/22/2019', '03/07/2019', '03/08/2019', '03/08/2018', '04/08/2019')}`,
    rationale: 'Yesterday was 02/28/2019, so today is 03/01/2019. One week is 7 days, so it will be 03/08/2019.',
    answer: '(D)',
  },
  {
    question: `It is 06/15/2022 today. What is the date a month ago in MM/DD/YYYY? ${choices('07/15/2022', '06/14/2022', '05/15/2021', '05/16/2022', '06/08/2022', '05/15/2022')}`,
    rationale: 'Today is 06/15/2022. The month before June is May, so a month ago it was 05/15/2022.',
    answer: '(F)',
  },
]

const TRUE = '\nWhich choice is true ? '

/** For three objects that change hands. */
export const TRACKING: readonly Exemplar[] = [
  {
    question: `Dana, Eli, and Fay each hold a cup. At the start, Dana has the red cup, Eli has the blue cup, and Fay has the green cup. First, Dana and Eli swap cups. Then, Eli and Fay swap cups. Finally, Dana and Fay swap cups. At the end, Fay has the ${TRUE}${choices('red cup.', 'blue cup.', 'green cup.')}`,
    rationale:
      'After the first swap Dana has blue, Eli has red, Fay has green. After the second Eli has green and Fay has red. After the third Dana has red and Fay has blue. So Fay has the blue cup.',
    answer: '(B)',
  },
  {
    question: `Gus, Hal, and Ida are dancers at a ball. At the start, Gus is dancing with Rob, Hal is dancing with Sam, and Ida is dancing with Tia. First, Gus and Ida switch partners. Then, Hal and Gus switch partners. Finally, Ida and Hal switch partners. At the end, Hal is dancing with ${TRUE}${choices('Rob.', 'Sam.', 'Tia.')}`,
    rationale:
      'After the first switch Gus dances with Tia and Ida with Rob, Hal still with Sam. After the second Hal dances with Tia and Gus with Sam. After the third Ida dances with Tia and Hal with Rob. So Hal dances with Rob.',
    answer: '(A)',
  },
  {
    question: `Jay, Kim, and Lou trade books. At the start, Jay has a novel, Kim has an atlas, and Lou has a diary. First, Kim and Lou swap books. Then, Jay and Kim swap books. Finally, Jay and Lou swap books. At the end, Lou has the ${TRUE}${choices('novel.', 'atlas.', 'diary.')}`,
    rationale:
      'After the first swap Kim has the diary and Lou has the atlas, Jay still has the novel. After the second Jay has the diary and Kim has the novel. After the third Jay has the atlas and Lou has the diary. So Lou has the diary.',
    answer: '(C)',
  },
]

/** Who was there, and whether they flip. */
function coinFlip(people: Readonly<Record<string, boolean>>): Exemplar {
  const acts = Object.entries(people).map(([name, flips]) => `${name} ${flips ? 'flips' : 'does not flip'} the coin.`)
  const flippers = Object.keys(people).filter((name) => people[name])
  const [count, isEven] = [flippers.length, flippers.length % 2 === 0]
  return {
    question: `A coin is heads up. ${acts.join(' ')} Is the coin still heads up? Note that "flip" here means "reverse".`,
    rationale: `${count === 0 ? 'Nobody flipped the coin' : `The coin was flipped by ${flippers.join(' and ')}`}. So it was flipped ${count} ${count === 1 ? 'time' : 'times'}, which is an ${isEven ? 'even' : 'odd'} number. It began heads up, so after an ${isEven ? 'even' : 'odd'} number of flips it is ${isEven ? 'still heads' : 'tails'} up.`,
    answer: isEven ? 'yes' : 'no',
  }
}

/** For coins. */
export const COINS: readonly Exemplar[] = [
  coinFlip({ Ana: true, Boris: true }),
  coinFlip({ Carla: true, Dmitri: false }),
  coinFlip({ Emil: false, Freya: true }),
  coinFlip({ Gita: false, Henrik: false }),
  coinFlip({ Ines: true, Jonas: true }),
  coinFlip({ Kofi: false, Lena: true }),
  coinFlip({ Milan: true, Noor: true }),
  coinFlip({ Olga: true, Pavel: false }),
]

function lastLetters(words: string): Exemplar {
  const ends = words.split(' ').map((word) => [word, word.slice(-1)] as const)
  const answer = ends.map(([, letter]) => letter).join('')
  return {
    question: `Take the last letters of each words in "${words}" and concatenate them.`,
    rationale: `${ends.map(([word, letter]) => `The last letter of "${word}" is "${letter}".`).join(' ')} Concatenating them is "${answer}".`,
    answer,
  }
}

/** For last letters. */
export const LETTERS: readonly Exemplar[] = ['Iris Omar', 'Jakob Lind', 'Vera Novak', 'Hugo Wells'].map(lastLetters)
