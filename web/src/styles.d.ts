/** Styles that come with what needs them. */
declare module '*.css'
