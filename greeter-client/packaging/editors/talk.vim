" Vim syntax file
" Language: talk, the scripts of greeter-client

if exists("b:current_syntax")
  finish
endif

syn case match

" Control lines. What is defined later goes before what is defined here.
syn match talkControlLine /^\s*[a-z]\+\>.*$/ contains=talkControl,talkOption,talkNumber,talkQuoted,talkPlaceholder
syn keyword talkControl contained within timeout sleep eol connect set let secret include require signal exits close starttls abandon
syn keyword talkOption contained lf crlf to from tls proxy unix ipv6 server
syn keyword talkOption contained md5 base64 len
syn keyword talkOption contained TERM INT HUP QUIT KILL USR1 USR2 STOP CONT
syn match talkNumber contained /\<x\=\d\+\(\.\d\+\)\=\(us\|ms\|s\|m\|min\|h\)\=\>/

" What happens on a connection. Behind one space, all is data.
syn match talkEventLine /^\s*\([A-Za-z_][A-Za-z0-9_-]*\(\.\d\+\)\=\)\=[<>][^ ].*$/ contains=talkConnection,talkEvent,talkSkip,talkNumber,talkQuoted,talkPlaceholder
syn keyword talkEvent contained eof reset closed nothing bytes prompt
syn match talkSkip contained /<\@1<=\*/
syn match talkSent /^\s*\([A-Za-z_][A-Za-z0-9_-]*\(\.\d\+\)\=\)\=>\( .*\)\=$/ contains=talkConnection,talkPlaceholder
syn match talkExpected /^\s*\([A-Za-z_][A-Za-z0-9_-]*\(\.\d\+\)\=\)\=<[?!&]\=\( .*\)\=$/ contains=talkConnection,talkPlaceholder
syn match talkConnection contained /^\s*\([A-Za-z_][A-Za-z0-9_-]*\(\.\d\+\)\=\)\=[<>][?!&]\=/ contains=talkDirection
syn match talkDirection contained /[<>][?!&]\=/

syn match talkQuoted contained /"\([^"\\]\|\\.\)*"/ contains=talkEscape,talkPlaceholder
syn match talkEscape contained /\\\([nrt0ea\\"]\|x\x\x\)/
syn match talkPlaceholder contained /{{\(\*\|#n\=\|[A-Za-z_][A-Za-z0-9_-]*\)\=\(:.\{-}\)\=}}/
syn match talkComment /^\s*#.*$/

hi def link talkControl Statement
hi def link talkOption Constant
hi def link talkNumber Number
hi def link talkEvent Statement
hi def link talkSkip Statement
hi def link talkSent String
hi def link talkExpected Identifier
hi def link talkConnection Tag
hi def link talkDirection Operator
hi def link talkQuoted String
hi def link talkEscape SpecialChar
hi def link talkPlaceholder Special
hi def link talkComment Comment

let b:current_syntax = "talk"
