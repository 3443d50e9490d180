/** Vite takes a style along with the code that imports it. */
declare module '*.css'
