# Answers each line in capitals. mawk needs -W interactive, or it reads ahead.
{
    print toupper($0)
    fflush()
}
